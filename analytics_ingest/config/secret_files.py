"""Reads secrets from files: ``<NAME>_FILE`` names the file whose content is the value of the variable ``<NAME>``.

So a secret is neither in a container's configuration, which ``docker inspect`` prints, nor in a process's environment.
A file is read each time that its setting is looked up.
"""

from __future__ import annotations

import os
from pathlib import Path

from analytics_ingest.errors import SecretFileError

ENVIRONMENT = "environment"
"""The place of a setting that is a variable."""
SUFFIX = "_FILE"
"""End of the names of variables that name the file of another one's value."""


def find_secret(variable: str) -> tuple[str | None, str]:
    """The value of a variable, or the content of the file that ``<variable>_FILE`` names, and the place of the value.

    The place is ``environment`` or the path of the file. The value is ``None`` if neither is set, or blank.

    Args:
        variable: The name of the variable.

    Raises:
        SecretFileError: Both are set, or the file cannot be read or has no content.
    """
    value, path = os.environ.get(variable), os.environ.get(variable + SUFFIX, "").strip()
    if value is not None and not value.strip():
        value = None
    if not path:
        return value, ENVIRONMENT if value is not None else ""
    if value is not None:
        raise SecretFileError(f"{variable} and {variable}{SUFFIX} are both set: remove one of them")
    return _content(variable + SUFFIX, path), path


def _content(setting: str, path: str) -> str:
    """The content of a file without the line break at its end."""
    try:
        content = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise SecretFileError(f"{setting}: {path} is not UTF-8: write the secret alone into it, as text") from None
    except OSError as error:
        raise SecretFileError(
            f"{setting}: {path} cannot be read: {error.strerror}. The file must exist, and the user of this process "
            "must be allowed to read it"
        ) from None
    if not content.strip():
        raise SecretFileError(f"{setting}: {path} is empty: write the secret into it")
    return content
