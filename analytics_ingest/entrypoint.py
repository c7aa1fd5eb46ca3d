"""Starts a part of a deployment in its container: ``python -m analytics_ingest.entrypoint dagster-daemon run``.

Dagster reads the URL of its storage from a variable alone: if ``DAGSTER_POSTGRES_URL_FILE`` names a file, its content
becomes that variable, of this process and not of the container. What the command creates is for its own user alone.
"""

from __future__ import annotations

import os
import sys

from analytics_ingest.config.secret_files import SUFFIX, find_secret
from analytics_ingest.errors import SecretFileError

STORAGE = "DAGSTER_POSTGRES_URL"
"""The variable that ``dagster.production.yaml`` reads."""


def main() -> None:
    """Replaces this process by the command in its arguments."""
    command = sys.argv[1:]
    if not command:
        sys.exit("no command: python -m analytics_ingest.entrypoint <command> <arguments>")
    os.umask(0o077)
    try:
        url, _ = find_secret(STORAGE)
    except SecretFileError as error:
        sys.exit(str(error))
    if url is not None:
        os.environ[STORAGE] = url
        os.environ.pop(STORAGE + SUFFIX, None)
    try:
        os.execvp(command[0], command)  # noqa: S606 - the container's command
    except OSError as error:
        sys.exit(f"{command[0]} cannot be started: {error.strerror}")


if __name__ == "__main__":
    main()
