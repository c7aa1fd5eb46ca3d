"""Looks up what is set for an API with dlt's providers: the environment, ``.dlt/secrets.toml``, ``.dlt/config.toml``.

Settings are looked up under ``sources.<api>`` alone. dlt's own resolution falls back to a bare ``api_key``, which would
send the key of one vendor to another. Like dlt's, it takes no key from ``.dlt/config.toml``.
"""

from __future__ import annotations

import os
import re
import tomllib
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dlt
from dlt.common.configuration.providers import EnvironProvider
from dlt.common.configuration.providers.doc import BaseDocProvider
from dlt.common.configuration.providers.toml import TomlProviderReadException
from dlt.common.typing import TSecretValue

from analytics_ingest.config.api_settings import Settings
from analytics_ingest.config.project import read_project_settings
from analytics_ingest.config.secret_files import ENVIRONMENT, find_secret
from analytics_ingest.config.validation import secret_fields
from analytics_ingest.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dlt.common.configuration.providers import ConfigProvider

    from analytics_ingest.apis.model import Api


DECLARED: dict[str, dict[str, Any]] = {}
"""Settings that code or a component has declared, by account. The environment wins over them, and they over files."""
CODE = "code"
"""The place of settings that code or a component has declared."""
SECRETS = secret_fields(Settings)
"""The settings of an API that may be in a file of their own."""


@dataclass(frozen=True, kw_only=True)
class FoundSetting:
    """A setting as it is written in one place.

    Attributes:
        path: Its sections and its name: the parts of a variable's name, or the keys in a file.
        value: The value as it is there.
        place: ``environment``, ``code`` or the file.
        takes_secrets: Whether keys are read from there.
    """

    path: tuple[str, ...]
    value: Any = field(repr=False)
    place: str
    takes_secrets: bool = True

    @property
    def name(self) -> str:
        """The name as it is written, with its sections."""
        return "__".join(self.path)

    @property
    def variable(self) -> str:
        """The environment variable that sets the same."""
        return self.name.upper()

    @property
    def parts(self) -> tuple[str, ...]:
        """The sections and the name in lower case, also if several of them are written as one key."""
        return tuple(self.variable.lower().split("__"))

    @property
    def shown(self) -> str:
        """The name for a message, with its place if that is not the environment."""
        return self.name if self.place == ENVIRONMENT else f"{self.variable} (in {self.place})"


def declare_settings(account: str, values: Mapping[str, Any]) -> None:
    """Declares settings of an account in this process, as in the section ``[sources.<account>]``.

    Args:
        account: The account's name.
        values: The settings by their names; a nested mapping has those of an endpoint.
    """
    DECLARED[account.lower()] = _lower(values)


def environment_name(api: str, field: str) -> str:
    """The environment variable that sets ``field`` of an API, or ``<endpoint>.<field>`` of one of its endpoints."""
    return f"SOURCES__{api}__{field.replace('.', '__')}".upper()


def lookup(api: Api, field: str) -> Any:
    """What is set for ``sources.<api>.<field>``; ``None`` if nothing is set, or a blank text.

    Raises:
        ConfigurationError: A file of settings, or the file of a secret, cannot be read.
    """
    return look_up_with_place(api, field)[0]


def look_up_with_place(api: Api, field: str) -> tuple[Any, str]:
    """What ``lookup`` gives, and the place where it is set; empty if nothing is.

    Raises:
        ConfigurationError: A file of settings, or the file of a secret, cannot be read.
    """
    sections = ("sources", api.name)
    if field in SECRETS:
        secret, place = find_secret(environment_name(api.name, field))
        if secret is not None:
            return secret, place
    with _files_explained():
        # not dlt.config.get, as values that it looks up end up in dlt's trace file
        for provider in dlt.config.config_providers:
            if field in SECRETS and not provider.supports_secrets:
                continue
            value, place = _value(provider, field, sections), _place(provider)
            if value is None and place == ENVIRONMENT:
                value, place = _declared(api.name, field), CODE
            if value is not None:
                return (None, "") if _is_blank(value) else (value, place)
    return None, ""


def _value(provider: ConfigProvider, field: str, sections: tuple[str, ...]) -> Any:
    *inner, key = field.split(".")
    value, _ = provider.get_value(key, TSecretValue, "", *sections, *inner)
    if value is None and inner and isinstance(provider, BaseDocProvider):
        # a file may have the endpoint in the name, as a variable of the environment has
        value, _ = provider.get_value("__".join((*inner, key)), TSecretValue, "", *sections)
    return value


def _place(provider: ConfigProvider) -> str:
    if isinstance(provider, EnvironProvider):
        return ENVIRONMENT
    return f".dlt/{provider.name}" if provider.name.endswith(".toml") else provider.name


def _is_blank(value: Any) -> bool:
    return isinstance(value, str) and not value.strip()


def _lower(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key.lower(): _lower(value) if isinstance(value, dict) else value for key, value in values.items()}


def _declared(account: str, field: str) -> Any:
    """The declared setting of an account; ``None`` if there is none."""
    values = DECLARED.get(account, {})
    section, _, name = field.rpartition(".")
    nested = values.get(section) if section else values
    value = nested.get(name) if isinstance(nested, dict) else None
    return values.get(f"{section}__{name}") if value is None and section else value


def found_settings() -> list[FoundSetting]:
    """Everything that is set in the environment, in code and in files of settings; those first that win.

    Blank values are left out. What dlt's providers of vaults have cannot be listed.

    Raises:
        ConfigurationError: A file of settings cannot be read.
    """
    found = [
        FoundSetting(path=tuple(name.split("__")), value=value, place=ENVIRONMENT) for name, value in os.environ.items()
    ]
    found += [FoundSetting(path=("sources", *path), value=value, place=CODE) for path, value in _leaves(DECLARED)]
    with _files_explained():
        for provider in dlt.config.config_providers:
            if isinstance(provider, BaseDocProvider):
                place, takes_secrets = _place(provider), provider.supports_secrets
                found += [
                    FoundSetting(path=path, value=value, place=place, takes_secrets=takes_secrets)
                    # dlt has no other way to list them
                    for path, value in _leaves(provider._config_doc)  # noqa: SLF001
                ]
    return [each for each in found if not _is_blank(each.value)]


def _leaves(table: Mapping[str, Any], *sections: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, *sections, str(key))
        else:
            yield (*sections, str(key)), value


def declared_kinds(found: Sequence[FoundSetting]) -> dict[str, tuple[str, FoundSetting]]:
    """The value of ``api`` in each section of ``sources`` that has one, and where it is set, by section.

    Args:
        found: What is set.
    """
    kinds: dict[str, tuple[str, FoundSetting]] = {}
    for each in found:
        is_variable = each.place == ENVIRONMENT
        if is_variable and each.name != each.variable:
            # dlt reads variables in capitals alone
            continue
        match each.parts if is_variable else each.path:
            case ("sources", section, "api"):
                kinds.setdefault(section, (str(each.value).strip(), each))
    return kinds


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


@contextmanager
def _files_explained() -> Iterator[None]:
    """Reads the project's files of settings, and explains what is wrong with them."""
    try:
        read_project_settings()
        yield
    except TomlProviderReadException as error:
        raise ConfigurationError(_file_problem([Path(path) for path in error.full_paths])) from None


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
