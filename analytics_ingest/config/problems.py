"""Everything that is wrong with the settings of an account, and with those that all accounts share, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analytics_ingest.config.accounts import find_accounts
from analytics_ingest.config.api import choose_profile, wrong_values
from analytics_ingest.config.deployment import load_deployment_settings
from analytics_ingest.config.lookup import SECRETS, found_settings
from analytics_ingest.config.schedule import ScheduleSettings, load_schedule_settings
from analytics_ingest.config.secret_files import SUFFIX
from analytics_ingest.config.unknown_settings import unknown_settings, unknown_shared_settings
from analytics_ingest.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from analytics_ingest.apis.model import Api
    from analytics_ingest.config.lookup import FoundSetting


def account_problems(api: Api, found: Sequence[FoundSetting] | None = None) -> list[str]:
    """What is wrong with the settings of an account, without those of its endpoints: a sentence for each problem.

    Args:
        api: The account's API, with or without its profile.
        found: What is set; looked up by default.

    Raises:
        ConfigurationError: A file of settings cannot be read.
    """
    found = found_settings() if found is None else found
    if not has_settings(api, found):
        return []
    if problem := _error_of(lambda: choose_profile(api)):
        # the names of endpoints depend on the profile
        return [problem]
    declared = choose_profile(api)
    fields = {each.parts[2] for each in found if each.parts[:2] == ("sources", api.name) and len(each.parts) == 3}
    fields |= {name for name in SECRETS if name + SUFFIX.lower() in fields}
    problems = [*unknown_settings(declared, found), wrong_values(declared, fields)]
    if not fields.isdisjoint(ScheduleSettings.model_fields):
        problems.append(_error_of(lambda: load_schedule_settings(declared)))
    return [each for each in problems if each]


def has_settings(api: Api, found: Sequence[FoundSetting] | None = None) -> bool:
    """Whether anything is set in the section of an account.

    Args:
        api: The account's API.
        found: What is set; looked up by default.

    Raises:
        ConfigurationError: A file of settings cannot be read.
    """
    found = found_settings() if found is None else found
    return any(each.parts[:2] == ("sources", api.name) for each in found)


def shared_problems(found: Sequence[FoundSetting] | None = None) -> list[str]:
    """What is wrong with the settings of the deployment, and with sections that are no account: a sentence for each.

    Args:
        found: What is set; looked up by default.

    Raises:
        ConfigurationError: A file of settings cannot be read.
    """
    problems = [_error_of(load_deployment_settings)]
    try:
        problems += find_accounts()[1].values()
    except ConfigurationError as error:
        problems.append(str(error))
    return [each for each in (*problems, *unknown_shared_settings(found)) if each]


def _error_of(validate: Callable[[], object]) -> str:
    try:
        validate()
    except ConfigurationError as error:
        return str(error)
    return ""
