"""Finds settings that nothing reads: names and sections that are misspelt, and settings of another API.

In the sections of accounts, and among the variables ``ANALYTICS_INGEST_*``, every name is known. Anywhere else a name
counts if it is one of these misspelt: sections of other dlt sources and variables of other programs are left alone.
"""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING

from analytics_ingest.apis.registry import APIS, PROFILES, whole_declaration
from analytics_ingest.config.account_sections import declared_accounts
from analytics_ingest.config.api_settings import RETIRED, EndpointSettings, Settings
from analytics_ingest.config.deployment import DeploymentSettings, environment_variable
from analytics_ingest.config.lookup import (
    CODE,
    SECRETS,
    FoundSetting,
    environment_name,
    found_settings,
)
from analytics_ingest.config.schedule import ScheduleSettings
from analytics_ingest.config.secret_files import ENVIRONMENT, SUFFIX
from analytics_ingest.config.spelling import is_misspelt, nearest
from analytics_ingest.config.validation import secret_fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from analytics_ingest.apis.model import Api

DEPLOYMENT = environment_variable("")
"""Start of the variables of the deployment."""
IN_FILES = frozenset({environment_variable("code_location")})
"""Variables of the deployment that other files than the code read: ``workspace.production.yaml``."""
KUBERNETES = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)")
"""Variables that Kubernetes sets in every container for a service: one named ``analytics-ingest`` has our prefix."""
OF_DLT = frozenset({"data_writer", "extract", "schema"})
"""Sections below that of a source which dlt reads."""
SECRET_FILES = frozenset(name.upper() + SUFFIX for name in SECRETS)
"""Names of variables that name the file of a secret."""
FIELDS = frozenset(name.upper() for model in (Settings, ScheduleSettings) for name in model.model_fields) | {
    "API",
    *SECRET_FILES,
}
RETIRED_FIELDS = frozenset(name.rpartition(".")[2].upper() for name in RETIRED if "." in name)
RETIRED_NAMES = frozenset(name.upper() for name in RETIRED if "." not in name)
PIECES = ("SOU", "RCE", "S__", "ANALYT", "ICS_IN", "GEST_")
"""Three pieces of the start of each of our names. One that is misspelt has one of its three near its start."""
PIECE_WITHIN = len(DEPLOYMENT) + 2


def unknown_settings(api: Api, found: Sequence[FoundSetting] | None = None) -> list[str]:
    """What is wrong with the names of the settings in the section of an account: a sentence for each.

    Args:
        api: The account's API, as its vendor serves it.
        found: What is set; looked up by default.

    Raises:
        ConfigurationError: A file of settings cannot be read.
    """
    found = found_settings() if found is None else found
    problems = (_account_problem(api, each) for each in found if _section(each) == api.name)
    return [each for each in dict.fromkeys(problems) if each]


def unknown_shared_settings(found: Sequence[FoundSetting] | None = None) -> list[str]:
    """What is wrong with the names of settings outside of the sections of accounts: a sentence for each.

    Args:
        found: What is set; looked up by default.

    Raises:
        ConfigurationError: A file of settings cannot be read.
    """
    found = found_settings() if found is None else found
    accounts = declared_accounts(found) | {name: name for name in APIS}
    problems: list[str] = []
    sections: defaultdict[str, list[FoundSetting]] = defaultdict(list)
    for each in found:
        section = _section(each)
        if each.variable.startswith(DEPLOYMENT):
            problems += _deployment_problem(each)
        elif section not in accounts:
            if section:
                sections[section].append(each)
            if not _close_account(section, accounts):
                problems += _misspelt(each, accounts)
    for section, settings in sections.items():
        close = _close_account(section, accounts)
        problems += _misspelt_section(section, settings, close, accounts) if close else _undeclared(section, settings)
    return list(dict.fromkeys(problems))


def _section(found: FoundSetting) -> str:
    """The section of ``sources`` that a setting is in; empty if it is elsewhere."""
    match found.parts:
        case ("sources", section, _, *_):
            return section
    return ""


# the section of an account


def _account_problem(api: Api, found: FoundSetting) -> str:
    name = "__".join(found.parts[2:]).upper()
    # dlt looks them up below the name of the source, and below that of its module, which is the same
    if any(each in OF_DLT for each in found.parts[2 : 4 if found.parts[2] == api.name else 3]):
        return ""
    if name not in _names(api):
        return f"{found.shown} is no setting{_meant_of_account(api, name)}"
    if name == "API":
        kind = str(found.value).strip()
        wrong = api.name in APIS and kind != api.name
        return f"{found.shown} is {kind!r}: remove it, as {api.name} is an API" if wrong else ""
    return _misplaced(found) or _without_effect(api, found, name)


def _meant_of_account(api: Api, name: str) -> str:
    """The end of the message about an unknown name in the section of an account."""
    if name.lower() in whole_declaration(api).by_name:
        return f": {name.lower()} is an endpoint, whose setting is {environment_name(api.name, f'{name}__LIMIT')}"
    if found := nearest(name, _names(api)):
        return f": did you mean {environment_name(api.name, found)}?"
    return f": `analytics-ingest settings {api.name}` shows those there are"


def _misplaced(found: FoundSetting) -> str:
    """The message about a known setting in a form, or a place, that is not read; empty if it is read."""
    account, *names = found.parts[1:]
    if found.place == ENVIRONMENT:
        return "" if found.name == found.variable else f"{found.name} is not read: write {found.variable}"
    name = "__".join(names)
    if name in SECRETS and not found.takes_secrets:
        return f"{found.shown} is not read from there: move it to .dlt/secrets.toml"
    if name.upper() in SECRET_FILES:
        return f"{found.shown} is not read from there: set it in the environment"
    # an endpoint is a section of its own, or the first part of the key
    if found.path[:2] == ("sources", account) and found.name == found.name.lower():
        return ""
    return f"{found.shown} is not read in this form: write {'__'.join(names)} under [sources.{account}]"


def _without_effect(api: Api, found: FoundSetting, name: str) -> str:
    """The message about a setting that this API does not use; empty if it does."""
    if not is_used(api, name.lower()):
        return f"{found.shown} has no effect in {api.name}: it is for {' and '.join(USERS[name.lower()])}"
    endpoint = whole_declaration(api).by_name.get(found.parts[2])
    if endpoint and name.endswith("__LIMIT") and endpoint.paginator.limit is None:
        return f"{found.shown} has no effect, as {endpoint.name} has no page size: remove it"
    return ""


def is_used(api: Api, field: str) -> bool:
    """Whether an API uses a setting: some are for the APIs alone whose declarations take their values."""
    return field not in USERS or field in _own_settings(whole_declaration(api))


def _names(api: Api) -> frozenset[str]:
    return _names_of(tuple(whole_declaration(api).by_name))


@cache
def _names_of(endpoints: tuple[str, ...]) -> frozenset[str]:
    """The names of all settings of an account with these endpoints, without its section."""
    per_endpoint = {*map(str.upper, EndpointSettings.model_fields), *RETIRED_FIELDS}
    return FIELDS | RETIRED_NAMES | {f"{name.upper()}__{field}" for name in endpoints for field in per_endpoint}


def _own_settings(api: Api) -> set[str]:
    """The settings that the parent sources and the auth of an API take."""
    names = {name for endpoint in api.endpoints if endpoint.parents for name in endpoint.parents.settings}
    return names | ({"auth_header"} if api.auth_headers else set())


USERS: defaultdict[str, list[str]] = defaultdict(list)
"""By setting that some APIs use alone, those that do."""
for _api in (*APIS.values(), *(each for profiles in PROFILES.values() for each in profiles.values())):
    for _name in _own_settings(_api):
        USERS[_name].append(f"{_api.name} with the profile {_api.profile}" if _api.profile else _api.name)


# all other places


def _deployment_problem(found: FoundSetting) -> Iterator[str]:
    variable = found.variable
    known = _deployment_variables()
    if variable in IN_FILES or KUBERNETES.fullmatch(variable):
        return
    if variable not in known:
        meant = nearest(variable.removeprefix(DEPLOYMENT), [each.removeprefix(DEPLOYMENT) for each in known])
        end = f"did you mean {DEPLOYMENT}{meant}?" if meant else "`analytics-ingest settings` shows those there are"
        yield f"{found.shown} is no setting: {end}"
    elif found.place != ENVIRONMENT:
        yield f"{found.shown} is not read from there: set it in the environment"
    elif found.name != variable:
        yield f"{found.name} is not read: write {variable}"


def _close_account(section: str, accounts: Iterable[str]) -> str:
    """The account whose name a section has with a letter wrong, or with other separators; empty if there is none."""
    plain = re.sub(r"[^a-z0-9]", "", section)
    return next((each for each in accounts if plain == each.replace("_", "") or is_misspelt(section, each)), "")


def _misspelt_section(
    section: str, found: Sequence[FoundSetting], close: str, accounts: Mapping[str, str]
) -> Iterator[str]:
    """The message about a section that is called nearly as an account."""
    first, *others = found
    more = f" ({len(others)} more in this section)" if others else ""
    name = "__".join(first.parts[2:]).upper()
    meant = name if name in (names := _all_names(accounts[close])) else nearest(name, names) or name
    yield (
        f"{first.shown} is no setting, as {section} is no account{more}: did you mean "
        f"{environment_name(close, meant)}? Another account needs {environment_name(section, 'api')}"
    )


def _undeclared(section: str, found: Sequence[FoundSetting]) -> Iterator[str]:
    """The message about a section that lacks ``api`` and is meant for an account, as code or a value in it shows."""
    for each in found:
        key, value = "__".join(each.parts[2:]), str(each.value).strip()
        kinds = [kind for kind, profiles in PROFILES.items() if key == "profile" and value in profiles]
        kinds += [value] if value in APIS and nearest(key, ["api"]) else []
        if kinds or each.place == CODE:
            kind = kinds[0] if kinds else next(iter(APIS))
            yield (
                f"{each.shown} is not read, as {section} is no account: set {environment_name(section, 'api')}={kind}, "
                f'or api = "{kind}" under [sources.{section}]'
            )
            return


def _misspelt(found: FoundSetting, accounts: Mapping[str, str]) -> Iterator[str]:
    """The message about a name that is one of ours misspelt."""
    variable, section = found.variable, _section(found)
    if not any(piece in variable[:PIECE_WITHIN] for piece in PIECES):
        return
    meant = meant_variable(variable, _variables_of_deployment())
    for account, kind in accounts.items():
        third = len(account) // 3
        thirds = (account[:third], account[third : 2 * third], account[2 * third :])
        # the section may be an account with its setting, and a letter wrong: one third is right
        if not meant and (not section or any(each in section for each in thirds)):
            meant = meant_variable(variable, _variables_of(account, kind))
    if meant:
        yield f"{found.shown} is no setting: did you mean {meant}?"


def meant_variable(variable: str, known: Mapping[int, Sequence[str]]) -> str:
    """The known variable of which another one is a misspelling; empty if there is none.

    Variables that differ only in their section, the second part of the name, are told apart by the sections.

    Args:
        variable: The variable.
        known: The known variables by length.
    """
    head, *parts = variable.split("__")
    found = []
    for length in range(len(variable) - 2, len(variable) + 3):
        for each in known.get(length, ()):
            known_head, *known_parts = each.split("__")
            in_section_alone = known_head == head and len(parts) > 1 and known_parts[1:] == parts[1:]
            if is_misspelt(variable, each) and not in_section_alone:
                found.append(each)
    return nearest(variable, found)


@cache
def _all_names(kind: str) -> frozenset[str]:
    """The names of all settings of an account of an API, with any profile, without its section."""
    declarations = [APIS[kind], *PROFILES[kind].values()] if kind in APIS else []
    return _names_of(tuple(name for each in declarations for name in each.by_name))


@cache
def _variables_of(account: str, kind: str) -> Mapping[int, Sequence[str]]:
    return by_length(environment_name(account, name) for name in _all_names(kind))


def _deployment_variables() -> list[str]:
    names = [environment_variable(name) for name in DeploymentSettings.model_fields]
    return names + [environment_variable(name) + SUFFIX for name in secret_fields(DeploymentSettings)]


@cache
def _variables_of_deployment() -> Mapping[int, Sequence[str]]:
    return by_length(_deployment_variables())


def by_length(variables: Iterable[str]) -> Mapping[int, Sequence[str]]:
    """Variables by their length, for ``meant_variable``."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    for each in variables:
        found[len(each)].append(each)
    return found
