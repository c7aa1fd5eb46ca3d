"""Builds the Dagster definitions of accounts: assets, checks, jobs, schedules and sensors."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from dagster import AssetSpec, Definitions

from analytics_ingest.config.accounts import find_accounts, load_accounts
from analytics_ingest.config.api import not_configured
from analytics_ingest.config.deployment import load_deployment_settings
from analytics_ingest.config.lookup import declare_settings, found_settings
from analytics_ingest.config.problems import account_problems
from analytics_ingest.config.schedule import schedule_settings_or_declared
from analytics_ingest.config.unknown_settings import unknown_shared_settings
from analytics_ingest.errors import ConfigurationError
from analytics_ingest.orchestrate.account_assets import AccountAssets
from analytics_ingest.orchestrate.assets import build_assets
from analytics_ingest.orchestrate.checks_op import build_checks
from analytics_ingest.orchestrate.freshness import build_freshness_sensor
from analytics_ingest.orchestrate.jobs import build_jobs
from analytics_ingest.orchestrate.schedules import build_schedules
from analytics_ingest.orchestrate.sensors.changes import build_change_sensor
from analytics_ingest.orchestrate.sensors.failures import build_failure_sensor

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Any

    from dagster import ExecutorDefinition

    from analytics_ingest.apis.model import Api

LOG = logging.getLogger(__name__)
WARNED: set[str] = set()
"""What this process has warned of: a project with many components builds many definitions, from the same settings."""


def build_definitions(
    *,
    accounts: Collection[str] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    endpoints: Mapping[str, Collection[str]] | None = None,
    key_prefix: str | Sequence[str] = (),
    group_name: str = "",
    owners: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
    name_prefix: str = "",
    side_by_side: ExecutorDefinition | None = None,
) -> Definitions:
    """The definitions of accounts, to be merged with those of a project (``Definitions.merge``).

    An account with a missing or wrong setting stays in the graph. The descriptions of its assets begin with what is to
    be set, which is also their metadata ``configuration``. A wrong setting is also logged as a warning.

    Example:
        A second account of Statsig, beside the APIs that the settings configure::

            build_definitions(
                settings={
                    "statsig_eu": {
                        "api": "experimentation",
                        "profile": "statsig",
                        "api_key": EnvVar("STATSIG_EU_KEY").get_value(),
                    }
                },
                key_prefix="raw",
            )

    Args:
        accounts: Names of the accounts to include; all that the settings declare by default.
        settings: By account its settings, as in the section ``[sources.<account>]``; an account that is none of the
            APIs needs ``api``. A variable of the environment wins over them, and they win over files of settings.
        endpoints: By account the endpoints to include, with their parents; all by default.
        key_prefix: Parts of the asset keys before the account's name.
        group_name: One asset group for all assets; by default one for each account.
        owners: Owners of all assets, beside those of the setting ``OWNERS``.
        tags: Tags of all assets.
        name_prefix: A prefix of the names that do not have the account's: ``all_sync``, ``freshness_sensor`` and
            ``failure_sensor``. A second call in the same code location needs one.
        side_by_side: The executor of the job ``all_sync``; by default that of the code location.

    Raises:
        ConfigurationError: A setting of the deployment is not valid, or an argument names an unknown account or
            endpoint.
    """
    for name, values in (settings or {}).items():
        declare_settings(name, values)
    # secrets are read where they are used
    deployment = load_deployment_settings(secrets=False)
    declared = load_accounts()
    if unknown := sorted({*(accounts or ()), *(endpoints or ())} - declared.keys()):
        raise ConfigurationError(f"there is no account {', '.join(unknown)}; there are {', '.join(declared)}")
    found = found_settings()
    shared = unknown_shared_settings(found)
    prefix = (key_prefix,) if isinstance(key_prefix, str) else tuple(key_prefix)
    built = [
        AccountAssets(
            api=_with_endpoints(api, (endpoints or {}).get(name)),
            key_prefix=prefix,
            group_name=group_name,
            owners=owners,
            tags=tags or {},
            problems=(*account_problems(api, found), *shared),
            missing=not_configured(api),
        )
        for name, api in declared.items()
        if accounts is None or name in accounts
    ]
    schedule_settings = {account.name: schedule_settings_or_declared(account.api) for account in built}
    misconfigured = find_accounts()[1] if accounts is None else {}
    _warn(built, misconfigured, shared)
    if not built:
        return Definitions()
    return Definitions(
        assets=[
            *(build_assets(account, schedule_settings[account.name]) for account in built),
            *(_misconfigured(name, problem) for name, problem in misconfigured.items()),
        ],
        asset_checks=[build_checks(account) for account in built],
        jobs=build_jobs(built, name_prefix=name_prefix, side_by_side=side_by_side),
        schedules=[
            each
            for account in built
            for each in build_schedules(account.api, schedule_settings[account.name], deployment)
        ],
        sensors=[
            *(build_change_sensor(account, schedule_settings[account.name], deployment) for account in built),
            build_freshness_sensor(built, deployment, name_prefix=name_prefix),
            build_failure_sensor(built, deployment, name_prefix=name_prefix),
        ],
    )


def _warn(built: Sequence[AccountAssets], misconfigured: Mapping[str, str], shared: Sequence[str]) -> None:
    """Logs what is wrong with settings: one warning for an account, and one for what all accounts share."""
    for account in built:
        if own := [each for each in account.problems if each not in shared]:
            _warn_once(f"{'; '.join(own)}. Until that is right, {account.name} is not synced")
    for problem in misconfigured.values():
        _warn_once(f"{problem}. Until that is right, it is not synced")
    if shared:
        _warn_once(f"{'; '.join(shared)}. Until that is right, nothing is synced")


def _warn_once(message: str) -> None:
    if message not in WARNED:
        WARNED.add(message)
        LOG.warning(message)


def _with_endpoints(api: Api, names: Collection[str] | None) -> Api:
    """The API with these endpoints and those that they are read after; all by default."""
    if names is None:
        return api
    if unknown := sorted(set(names) - api.by_name.keys()):
        raise ConfigurationError(f"{api.name} has no endpoint {', '.join(unknown)}")
    kept = set(names)
    for endpoint in reversed(api.endpoints):
        if endpoint.name in kept:
            kept |= {*endpoint.after}
    probes = tuple(
        replace(probe, concerns=tuple(each for each in probe.concerns if each in kept))
        for probe in api.probes
        if probe.endpoint in kept
    )
    return replace(api, endpoints=tuple(each for each in api.endpoints if each.name in kept), probes=probes)


def _misconfigured(section: str, problem: str) -> AssetSpec:
    """An asset that cannot be materialised, in place of an account whose section is not valid: it shows the problem."""
    return AssetSpec(key=["misconfigured_accounts", section], description=problem, group_name="misconfigured_accounts")
