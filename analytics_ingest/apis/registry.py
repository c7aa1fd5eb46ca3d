"""The registry: every API by name, and every vendor profile of each API."""

from collections.abc import Mapping

from analytics_ingest.apis.continuous_integration import CONTINUOUS_INTEGRATION
from analytics_ingest.apis.experimentation import EXPERIMENTATION
from analytics_ingest.apis.feature_management import FEATURE_MANAGEMENT
from analytics_ingest.apis.incident_response import INCIDENT_RESPONSE
from analytics_ingest.apis.model import Api
from analytics_ingest.apis.project_planning import PROJECT_PLANNING
from analytics_ingest.apis.vendors import VENDORS

APIS: Mapping[str, Api] = {
    api.name: api
    for api in (
        EXPERIMENTATION,
        INCIDENT_RESPONSE,
        PROJECT_PLANNING,
        CONTINUOUS_INTEGRATION,
        FEATURE_MANAGEMENT,
    )
}
"""Every API by name. Jobs, assets, checks and tests are generated from it."""

PROFILES: Mapping[str, Mapping[str, Api]] = {
    name: {profile.profile: profile for profile in VENDORS if profile.name == name} for name in APIS
}
"""The APIs as vendors serve them, by API and by profile."""


def neutral_declaration(api: Api) -> Api:
    """An API or an account of one, as it is declared without a vendor."""
    declared = APIS[api.registered_name]
    return declared.account(api.name) if api.account_of else declared


def whole_declaration(api: Api) -> Api:
    """An API or an account of one with all its endpoints, also if a project has chosen some of them.

    An API that is not registered is given as it is.
    """
    if api.registered_name not in APIS:
        return api
    return vendor_declaration(api, api.profile) if api.profile else neutral_declaration(api)


def vendor_declaration(api: Api, profile: str) -> Api:
    """An API or an account of one, as a vendor serves it.

    Raises:
        KeyError: The vendor does not serve the API.
    """
    declared = PROFILES[api.registered_name][profile]
    return declared.account(api.name) if api.account_of else declared
