"""Looks up what is set for an API with dlt's providers: the environment, ``.dlt/secrets.toml``, ``.dlt/config.toml``.

Settings are looked up under ``sources.<api>`` alone. dlt's own resolution falls back to a bare ``api_key``, which would
send the key of one vendor to another. Like dlt's, it takes no key from ``.dlt/config.toml``.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dlt
from dlt.common.configuration.providers import EnvironProvider
from dlt.common.configuration.providers.doc import BaseDocProvider
from dlt.common.configuration.providers.toml import TomlProviderReadException
from dlt.common.typing import TSecretValue

from analytics_ingest.config.project import read_project_settings
from analytics_ingest.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from analytics_ingest.apis.model import Api


DECLARED: dict[str, dict[str, Any]] = {}
"""Settings that code or a component has declared, by account. The environment wins over them, and they over files."""


def declare_settings(account: str, values: Mapping[str, Any]) -> None:
    """Declares settings of an account in this process, as in the section ``[sources.<account>]``.

    Args:
        account: The account's name.
        values: The settings by their names in lower case; a nested mapping has those of an endpoint.
    """
    DECLARED[account.lower()] = _lower(values)


def environment_name(api: str, field: str) -> str:
    """The environment variable that sets ``field`` of an API, or ``<endpoint>.<field>`` of one of its endpoints."""
    return f"SOURCES__{api}__{field.replace('.', '__')}".upper()


def lookup(api: Api, field: str) -> Any:
    """What is set for ``sources.<api>.<field>``; ``None`` if nothing is set, or a blank text.

    Raises:
        ConfigurationError: A file of settings cannot be read.
    """
    *sections, key = f"sources.{api.name}.{field}".split(".")
    try:
        read_project_settings()
        # not dlt.config.get, as values that it looks up end up in dlt's trace file
        for provider in dlt.config.config_providers:
            if field == "api_key" and not provider.supports_secrets:
                continue
            value, _ = provider.get_value(key, TSecretValue, None, *sections)
            if value is None and isinstance(provider, EnvironProvider):
                value = _declared(*sections[1:], key)
            if value is not None:
                return None if isinstance(value, str) and not value.strip() else value
    except TomlProviderReadException as error:
        raise ConfigurationError(_file_problem([Path(path) for path in error.full_paths])) from None
    return None


def _lower(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key.lower(): value for key, value in values.items()}


def _declared(*path: str) -> Any:
    """The declared setting at ``path``; ``None`` if there is none."""
    found: Any = DECLARED
    for part in path:
        found = found.get(part) if isinstance(found, dict) else None
    return found


def sections() -> dict[str, dict[str, Any]]:
    """What is set under ``sources``, by section: keys in lower case, values as they are, nested sections as they are.

    Only the environment and files of settings can be listed; dlt's providers of vaults cannot.

    Raises:
        ConfigurationError: A file of settings cannot be read.
    """
    found: dict[str, dict[str, Any]] = {}
    try:
        read_project_settings()
        for provider in reversed(list(dlt.config.config_providers)):
            if isinstance(provider, BaseDocProvider):
                listed, _ = provider.get_value("sources", dict, "")
                for section, values in listed.items() if isinstance(listed, dict) else ():
                    if isinstance(values, dict):
                        found.setdefault(section.lower(), {}).update(_lower(values))
    except TomlProviderReadException as error:
        raise ConfigurationError(_file_problem([Path(path) for path in error.full_paths])) from None
    for account, values in DECLARED.items():
        found.setdefault(account, {}).update(values)
    for name, value in os.environ.items():
        prefix, section, *keys = [*name.lower().split("__"), ""]
        if prefix == "sources" and keys and keys[0]:
            found.setdefault(section, {})["__".join(keys[:-1])] = value
    return found


def refuse_folders() -> None:
    """Refuses a folder in the place of a file of settings, which dlt ignores.

    Raises:
        ConfigurationError: There is such a folder.
    """
    read_project_settings()
    for name in ("secrets.toml", "config.toml"):
        path = Path(dlt.current.run_context().settings_dir) / name
        if path.is_dir():
            raise ConfigurationError(f"{path} is a folder: it must be a TOML file")


def _file_problem(paths: Sequence[Path]) -> str:
    """Which file of settings cannot be read, at which line and why, without its content."""
    for path in paths:
        if not path.exists():
            continue
        try:
            content = path.read_bytes()
            tomllib.loads(content.decode())
        except UnicodeDecodeError as error:
            line = 1 + content.count(b"\n", 0, error.start)
            return f"{path} cannot be read: line {line} is not UTF-8. Save the file as UTF-8"
        except tomllib.TOMLDecodeError as error:
            place = re.search(r"line [0-9]+", str(error))
            return f"{path} cannot be read: {place[0] if place else 'its end'} is not valid TOML"
        except OSError as error:
            return f"{path} cannot be read: {error.strerror}"
    names = " or ".join(str(path) for path in paths)
    return f"{names} cannot be read: it is not valid TOML"
