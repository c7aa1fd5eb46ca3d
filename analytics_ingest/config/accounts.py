"""The accounts: every API that is in the graph, and each further account of one, as the settings declare them.

A section ``[sources.<account>]`` with ``api = "<api>"`` is another account of that API. It has its own settings, key,
assets and dataset. The five APIs are accounts themselves and need no ``api``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from analytics_ingest.apis.registry import APIS, PROFILES, neutral_declaration
from analytics_ingest.config.account_sections import declared_accounts
from analytics_ingest.config.api import choose_profile
from analytics_ingest.config.deployment import environment_variable, load_deployment_setting
from analytics_ingest.config.lookup import environment_name, found_settings
from analytics_ingest.config.schedule import load_schedule_settings
from analytics_ingest.errors import ConfigurationError, UnknownAccountError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from analytics_ingest.apis.model import Api

NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
"""A name that is the same as an asset group, as a dataset of any destination, and as a section of the environment."""
MAX_NAME = 40
"""Characters of a name: PostgreSQL has 63 for a schema, and dlt's staging dataset has a suffix."""
RESERVED = frozenset({"all", "freshness", "failure", "ingest_meta", "information_schema", "main", "public", "temp"})
"""Names of datasets that exist already, and first words of jobs and sensors that belong to no API."""
SUFFIXES = ("_checks", "_sync", "_full_refresh", "_change_sensor", "_schedule", "_staging")
"""Endings of the names that Dagster and dlt give to what belongs to an account."""


def find_accounts() -> tuple[dict[str, Api], dict[str, str]]:
    """The APIs that are in the graph, by account, as they are declared without a vendor; and what is wrong, by section.

    Raises:
        ConfigurationError: A file of settings cannot be read, or ``ANALYTICS_INGEST_APIS`` names an unknown API.
    """
    accounts = {name: APIS[name] for name in _listed_apis()}
    problems: dict[str, str] = {}
    for section, kind in declared_accounts(found_settings()).items():
        if section in APIS:
            continue
        if problem := _problem(section, kind):
            problems[section] = problem
        else:
            accounts[section] = APIS[kind].account(section)
    return accounts, problems


def _listed_apis() -> list[str]:
    listed: tuple[str, ...] = load_deployment_setting("apis")
    if unknown := [name for name in listed if name not in APIS]:
        raise ConfigurationError(
            f"{environment_variable('apis')} names {', '.join(unknown)}: there are {', '.join(APIS)}"
        )
    return [name for name in APIS if name in listed] if listed else list(APIS)


def _problem(section: str, kind: str) -> str:
    """Why a section cannot be an account; empty if it can."""
    if of := [name for name, profiles in PROFILES.items() if kind.lower() in profiles]:
        return f"{environment_name(section, 'api')} is {kind!r}, which is a profile: it must be {of[0]}"
    if kind not in APIS:
        return f"{environment_name(section, 'api')} is {kind!r}: it must be {' or '.join(APIS)}"
    if not NAME.fullmatch(section) or len(section) > MAX_NAME:
        return (
            f"[sources.{section}] cannot be an account: its name must start with a letter and have at "
            f"most {MAX_NAME} lower-case letters, digits and single underscores"
        )
    if section in RESERVED or section.startswith(("pg_", "dlt_")) or section.endswith(SUFFIXES):
        return f"[sources.{section}] cannot be an account, as the name is in use: choose another one"
    return ""


def profile_or_neutral(api: Api) -> Api:
    """The API as ``choose_profile`` gives it; as it is, if there is no such profile."""
    try:
        return choose_profile(api)
    except ConfigurationError:
        return api


def check_graph_settings(api: Api) -> None:
    """Validates the settings of an account that shape the graph.

    Raises:
        ConfigurationError: A value is not valid.
    """
    load_schedule_settings(choose_profile(neutral_declaration(api)))


def load_accounts() -> Mapping[str, Api]:
    """The APIs that are in the graph, by account, each with the vendor profile that is set, if there is one."""
    return {name: profile_or_neutral(api) for name, api in find_accounts()[0].items()}


def choose_accounts(names: Sequence[str]) -> dict[str, Api]:
    """The named accounts, each once, as their vendors serve them; all if there are no names.

    Raises:
        UnknownAccountError: There is no such account.
        ConfigurationError: A section or a profile is not valid.
    """
    problems = find_accounts()[1]
    if not names and problems:
        raise ConfigurationError("; ".join(problems.values()))
    return {name: choose_profile(api) for name, api in named_accounts(names).items()}


def named_accounts(names: Sequence[str]) -> dict[str, Api]:
    """The named accounts, each once, without profiles; all whose section is valid if there are no names.

    Raises:
        UnknownAccountError: There is no such account.
        ConfigurationError: The section of a named account is not valid.
    """
    accounts, problems = find_accounts()
    for name in names:
        if name not in accounts:
            if name in problems:
                raise ConfigurationError(problems[name])
            raise UnknownAccountError(f"there is no API or account {name}; there are {', '.join(accounts)}")
    return {name: accounts[name] for name in names or accounts}


def find_account(name: str) -> Api | None:
    """One account by its name, as its API is declared without a vendor; ``None`` if there is no such account."""
    return find_accounts()[0].get(name)
