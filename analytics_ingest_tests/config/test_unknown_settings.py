"""Settings that nothing reads are refused before any request, with the right name; those of others are left alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext

from analytics_ingest.apis.registry import APIS, PROFILES
from analytics_ingest.config import lookup
from analytics_ingest.config.accounts import load_accounts
from analytics_ingest.config.api import choose_profile, load_settings, page_limit, retired_settings
from analytics_ingest.config.api_settings import EndpointSettings, Settings
from analytics_ingest.config.deployment import DeploymentSettings, environment_variable
from analytics_ingest.config.lookup import declare_settings, environment_name, look_up_with_place
from analytics_ingest.config.schedule import ScheduleSettings, load_schedule_settings
from analytics_ingest.config.unknown_settings import OF_DLT, unknown_settings, unknown_shared_settings
from analytics_ingest.errors import ConfigurationError
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest.warehouse.destination import configured_destination
from analytics_ingest.warehouse.destination_settings import unknown_destination_settings
from analytics_ingest.warehouse.dlt_environ import SectionedEnvironment
from analytics_ingest_tests.conftest import ROOT, sync
from analytics_ingest_tests.environment import configure_api, set_environment

API = "experimentation"
PREFIX = "SOURCES__EXPERIMENTATION__"
VENDORS = {
    "org_slugs": ("continuous_integration", "circleci"),
    "search_query": ("project_planning", "shortcut"),
    "auth_header": ("feature_management", "split"),
}
"""The APIs and profiles that have a setting of their own."""
FIELDS = {**Settings.model_fields, **ScheduleSettings.model_fields}
VARIABLES = [
    *(environment_name(VENDORS.get(name, (API, ""))[0], name) for name in FIELDS),
    *(environment_name(API, f"gates.{name}") for name in EndpointSettings.model_fields),
    *map(environment_variable, DeploymentSettings.model_fields),
]
"""The variable of every setting of the reference page."""
VALUES = {
    "base_url": "http://127.0.0.1:1/v1",
    "api_key": "a-key",
    "profile": "none",
    "requests_per_minute": 60,
    "fan_out": "changed",
    "start_date": "2026-01-31",
    "org_slugs": "gh/acme, bb/basalt",
    "search_query": "is:done",
    "auth_header": "x-api-key",
    "exclude_columns": "users.email",
    "skip_endpoints": "users, gates",
    "cron": "0 */6 * * *",
    "full_refresh_cron": "0 3 * * 6",
    "verify_cron": "0 4 * * 6",
    "warn_after": 7200,
    "fail_after": 7200.5,
    "owners": "team:data",
    "docs_url": "https://wiki.example.com",
    "min_rows_share": 0.25,
    "mark_deleted": False,
    "history": False,
}
"""Values of settings that do not take the number 20."""


def misspellings(name: str) -> Iterator[str]:
    """The name without a letter, with a letter twice, or with two neighbours swapped, at each place."""
    for place, letter in enumerate(name):
        yield name[:place] + name[place + 1 :]
        yield name[:place] + letter + name[place:]
        yield name[:place] + name[place + 1 : place + 2] + letter + name[place + 2 :]


def refusal(api: str = API) -> str:
    """Why a sync of an API is refused."""
    with pytest.raises(ConfigurationError) as refused:
        sync(api)
    return str(refused.value)


@pytest.mark.parametrize(
    ("section", "variable"),
    [
        *((variable.rpartition("__")[0] or environment_variable(""), variable) for variable in VARIABLES),
        # the sections are the same for all
        ("", environment_name(API, "api_key")),
        ("", environment_name(API, "gates.limit")),
        ("", environment_variable("apis")),
    ],
)
def test_a_setting_misspelt_by_one_letter_is_refused_with_the_right_name(
    shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, section: str, variable: str
) -> None:
    account = variable.split("__")[1].lower() if variable.startswith("SOURCES") else API
    for name, profile in VENDORS.values():
        configure_api(monkeypatch, name, profile=profile)
    plain = variable.removeprefix(section)
    wrong = sorted({section + name for name in misspellings(plain)} - {variable})
    assert len(wrong) > len(plain)
    # an error names each unknown setting of an account, but of a misspelt section only the first
    for together in [[name] for name in wrong] if not section else [wrong]:
        with monkeypatch.context() as patch:
            for name in together:
                patch.setenv(name, "1")
            message = refusal(account)
        for name in together:
            assert re.search(rf"\b{name}\b[^;\n]*did you mean {variable}\?", message), (name, message)
    assert shared_sandbox.requests.count() == 0
    # without the misspelt names nothing is refused
    assert unknown_settings(choose_profile(APIS[account])) == unknown_shared_settings() == []


def value_of(name: str) -> Any:
    return VALUES.get(name, 20)


def as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def as_toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else as_text(value)


def in_force(api: str) -> dict[str, Any]:
    """The settings of an API, once nothing refuses them."""
    declared = choose_profile(APIS[api])
    return {**load_settings(declared).model_dump(), **load_schedule_settings(declared).model_dump()}


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_is_read_in_each_of_the_places(
    fresh_files: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    api, profile = VENDORS.get(name, (API, "statsig"))
    value = value_of(name)
    if name != "profile":
        configure_api(monkeypatch, api, profile=profile)
    if name != "api_key":
        configure_api(monkeypatch, api, api_key="another-key")
    monkeypatch.setenv(environment_name(api, "base_url"), "http://127.0.0.1:1")
    if name == "base_url":
        monkeypatch.delenv(environment_name(api, "base_url"))
    section = f"[sources.{api}]\n{name} = "
    found = {}
    for file in ("secrets.toml", "config.toml") if name != "api_key" else ("secrets.toml",):
        (fresh_files / file).write_text(section + as_toml(value))
        reload_files()
        assert look_up_with_place(APIS[api], name) == (value, f".dlt/{file}")
        found[file] = in_force(api)[name]
        (fresh_files / file).unlink()
    reload_files()
    monkeypatch.setenv(environment_name(api, name), as_text(value))
    assert look_up_with_place(APIS[api], name) == (as_text(value), "environment")
    assert set(map(str, found.values())) == {str(in_force(api)[name])}


def reload_files() -> None:
    """Has dlt read the files of settings again, as at the start of a process."""
    container = Container()
    if PluggableRunContext in container:
        del container[PluggableRunContext]


@pytest.mark.parametrize(
    ("file", "content", "limit"),
    [
        ("config.toml", "[sources.experimentation]\ngates__limit = 7\n", 7),
        ("secrets.toml", "[sources.experimentation]\ngates__limit = 7\n", 7),
        ("config.toml", "[sources.experimentation.gates]\nlimit = 7\n", 7),
        ("secrets.toml", "[sources.experimentation]\ngates = {limit = 7}\n", 7),
        ("config.toml", "sources.experimentation.gates.limit = 7\n", 7),
        ("config.toml", "[sources.experimentation]\ngates__limit = 8\ngates.limit = 7\n", 7),
    ],
)
def test_a_file_has_the_setting_of_an_endpoint_in_its_name_or_in_a_section(
    fresh_files: Path, monkeypatch: pytest.MonkeyPatch, file: str, content: str, limit: int
) -> None:
    (fresh_files / file).write_text(content)
    configure_api(monkeypatch, API, base_url="http://127.0.0.1:1", api_key="k")
    api = APIS[API]

    load_settings(api)
    assert page_limit(api, api.by_name["gates"]) == limit
    monkeypatch.setenv(f"{PREFIX}GATES__LIMIT", "9")
    load_settings(api)
    assert page_limit(api, api.by_name["gates"]) == 9


@pytest.mark.parametrize("settings", [{"gates__limit": 7}, {"gates": {"limit": 7}}, {"GATES": {"LIMIT": 7}}])
def test_code_declares_the_setting_of_an_endpoint_in_each_of_these_ways(
    monkeypatch: pytest.MonkeyPatch, settings: Mapping[str, Any]
) -> None:
    monkeypatch.setattr(lookup, "DECLARED", {})
    declare_settings(API, {"base_url": "http://127.0.0.1:1", "api_key": "k", **settings})
    api = APIS[API]

    load_settings(api)
    assert page_limit(api, api.by_name["gates"]) == 7


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"MAX_INFLIGHT": "8"}, "MAX_INFLIGHT is no setting: did you mean {}MAX_IN_FLIGHT?"),
        ({"GATE__LIMIT": "8"}, "GATE__LIMIT is no setting: did you mean {}GATES__LIMIT?"),
        ({"GATES__SIZE": "8"}, "GATES__SIZE is no setting: did you mean {}GATES__LIMIT?"),
        ({"GATES": "8"}, "GATES is no setting: gates is an endpoint, whose setting is {}GATES__LIMIT"),
        ({"COLOUR": "8"}, "COLOUR is no setting: `analytics-ingest settings experimentation` shows those"),
        ({"ORG_SLUGS": "a"}, "ORG_SLUGS has no effect in experimentation: it is for continuous_integration with the p"),
        (
            {"AUTH_HEADER": "a"},
            "AUTH_HEADER has no effect in experimentation: it is for feature_management with",
        ),
        ({"SEARCH_QUERY": "a"}, "SEARCH_QUERY has no effect in experimentation: it is for project_planning with the"),
        ({"INGESTION_STATUS__LIMIT": "5"}, "INGESTION_STATUS__LIMIT has no effect, as ingestion_status has no page"),
        ({"EVENTS__COUNTS__LIMIT": "5"}, "EVENTS__COUNTS__LIMIT is no setting"),
        ({"NORMALIZE__WORKERS": "5"}, "NORMALIZE__WORKERS is no setting"),
        ({"API": "feature_management"}, "API is 'feature_management': remove it, as experimentation is an API"),
        (
            {"SKIP_ENDPOINTS": "users, groops, "},
            "SKIP_ENDPOINTS names groops, which experimentation does not have",
        ),
    ],
)
def test_a_name_in_the_section_of_an_account_is_known_or_refused(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str], message: str
) -> None:
    configure_api(monkeypatch, API, **variables)

    assert refusal().startswith(PREFIX + message.format(PREFIX))
    # the others are synced
    assert sync("incident_response", "dashboards")["dashboards"].status == "complete"
    assert {record.api for record in sandbox.requests} == {"incident_response"}


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("SOURCES__EXPERIMENTATIONS__API_KEY", "is no setting, as experimentations is no account: did you mean {}API_"),
        ("SOURCES__EXPERIMENTATON__API_KEY", "is no setting, as experimentaton is no account: did you mean {}API_KEY?"),
        ("SOURCES__EXPERIMENTATON__API_KEI", "is no setting, as experimentaton is no account: did you mean {}API_KEY?"),
        ("SOURCES__FEATUREMANAGEMENT__API_KEY", "did you mean SOURCES__FEATURE_MANAGEMENT__API_KEY?"),
        ("SOURCE__EXPERIMENTATION__API_KEY", "is no setting: did you mean {}API_KEY?"),
        ("SOURCES_EXPERIMENTATION__API_KEY", "is no setting: did you mean {}API_KEY?"),
        ("SOURCES__EXPERIMENTATION_API_KEY", "is no setting: did you mean {}API_KEY?"),
        ("SOURCES_EXPERIMENTATION_API_KEY", "is no setting: did you mean {}API_KEY?"),
        ("sources__experimentation__api_key", "is not read: write {}API_KEY"),
        ("ANALYTIC_INGEST_APIS", "is no setting: did you mean ANALYTICS_INGEST_APIS?"),
        ("ANALYTICS_INGEST__APIS", "is no setting: did you mean ANALYTICS_INGEST_APIS?"),
        ("ANALYTICS_INGEST_AUTOMATON", "is no setting: did you mean ANALYTICS_INGEST_AUTOMATION?"),
        ("ANALYTICS_INGEST_COLOUR", "is no setting: `analytics-ingest settings` shows those there are"),
        ("analytics_ingest_destination", "is not read: write ANALYTICS_INGEST_DESTINATION"),
    ],
)
def test_a_name_that_is_nearly_one_of_ours_stops_every_sync(
    shared_sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, variable: str, message: str
) -> None:
    monkeypatch.setenv(variable, "experimentation")
    told = refusal()
    assert told.startswith(variable)
    assert message.format(PREFIX) in told
    if not variable.startswith("sources"):
        assert refusal("incident_response") == told
    assert shared_sandbox.requests.count() == 0


@pytest.mark.parametrize("file", ["secrets.toml", "config.toml"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[sources.experimentation]\nmax_inflight = 8", "MAX_INFLIGHT (in .dlt/{}) is no setting: did you mean"),
        (
            "[sources.experimentation]\nMAX_PAGES = 8",
            "MAX_PAGES (in .dlt/{}) is not read in this form: write max_pages",
        ),
        (
            "[sources.Experimentation]\nmax_pages = 8",
            "MAX_PAGES (in .dlt/{}) is not read in this form: write max_pages",
        ),
        ("[sources]\nexperimentation__max_pages = 8", "MAX_PAGES (in .dlt/{}) is not read in this form: write max_pa"),
        ("[sources.experimentation.gates]\nsize = 8", "GATES__SIZE (in .dlt/{}) is no setting"),
        ("[sources.experimentation.max_pages]\nvalue = 8", "MAX_PAGES__VALUE (in .dlt/{}) is no setting"),
        (
            "[source.experimentation]\nmax_pages = 8",
            "(in .dlt/{}) is no setting: did you mean SOURCES__EXPERIMENTATION",
        ),
        ("[sources.experimentations]\nmax_pages = 8", "(in .dlt/{}) is no setting, as experimentations is no account"),
        (
            "[sources.feature-management]\nmax_pages = 8\nmax_columns = 9",
            "is no setting, as feature-management is no account (1 more in this section): did you mean SOURCES__FEAT",
        ),
        ("[analytics_ingest]\napis = 'experimentation'", "(in .dlt/{}) is no setting: did you mean ANALYTICS_INGEST_"),
        ("analytics_ingest_apis = 'experimentation'", "(in .dlt/{}) is not read from there: set it in the environment"),
        (
            "[sources.statsig]\nprofile = 'statsig'",
            "as statsig is no account: set SOURCES__STATSIG__API=experimentation",
        ),
        ("[sources.eu]\napis = 'experimentation'", "as eu is no account: set SOURCES__EU__API=experimentation"),
        (
            "[sources.eu]\nAPI = 'experimentation'",
            "as eu is no account: set SOURCES__EU__API=experimentation, or api =",
        ),
    ],
)
def test_names_in_files_are_known_or_refused(
    fresh_files: Path, shared_sandbox: SandboxServer, file: str, content: str, message: str
) -> None:
    (fresh_files / file).write_text(content)

    assert message.format(file) in refusal()
    assert shared_sandbox.requests.count() == 0


def test_a_key_in_the_file_that_is_not_secret_is_refused(fresh_files: Path, sandbox: SandboxServer) -> None:
    (fresh_files / "config.toml").write_text("[sources.experimentation]\napi_key = 's3cr3t'\n")
    message = refusal()

    assert message == f"{PREFIX}API_KEY (in .dlt/config.toml) is not read from there: move it to .dlt/secrets.toml"


def test_a_value_is_never_in_the_message(fresh_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("API_KEI", "GATES", "COLOUR")
    configure_api(monkeypatch, API, **dict.fromkeys(names, "s3cr3t"))
    set_environment(monkeypatch, dict.fromkeys(("SOURCES__EXPERIMENTATON__API_KEY", "ANALYTICS_INGEST_X"), "s3cr3t"))
    (fresh_files / "secrets.toml").write_text("[source.experimentation]\napi_key = 's3cr3t'\n")
    message = refusal()

    assert "s3cr3t" not in message
    assert message.count("is no setting") == 6


OTHERS = """
[sources]
api_key = "of another"
read_timeout = 1
[sources.github]
api_key = "k"
max_in_flight = 4
[sources.sql_database.credentials]
drivername = "postgresql"
[sources.rest_api.client]
base_url = "http://localhost"
[sources.experiment_tracking]
api_key = "k"
[sources.feature_flags]
profile = "production"
[sources.incident_io]
api_key = "k"
[experimentation]
api_key = "k"
[normalize]
workers = 2
[runtime]
log_level = "CRITICAL"
[pipeline.sources.github]
api_key = "k"
[destination.postgres.credentials]
passwort = "p"
"""
ALONE = {
    "SOURCES__API_KEY": "k",
    "SOURCES__STRIPE__API_KEY": "k",
    "SOURCES__HUBSPOT__START_DATE": "2026-01-01",
    "SOURCES__FILESYSTEM__BUCKET_URL": "s3://bucket",
    "SOURCES__DATA_WRITER__BUFFER_MAX_ITEMS": "5000",
    "EXPERIMENTATION__API_KEY": "k",
    "API_KEY": "k",
    "RESOURCES__EXPERIMENTS__LIMIT": "4",
    "SOURCE_VERSION": "1",
    "ANALYTICS_DATABASE": "x",
    "ANALYTICS_INGEST_CODE_LOCATION": "code_location",
    "ANALYTICS_INGEST_SERVICE_HOST": "10.0.0.1",
    "ANALYTICS_INGEST_SERVICE_PORT": "80",
    "ANALYTICS_INGEST_SERVICE_PORT_HTTP": "80",
    "ANALYTICS_INGEST_PORT": "tcp://10.0.0.1:80",
    "ANALYTICS_INGEST_WEBSERVER_PORT_3000_TCP_ADDR": "10.0.0.1",
    "DESTINATION__POSTGRES__CREDENTIAL": "x",
    "DESTINATION__SNOWFLAKE__PASSWORD": "x",
    f"{PREFIX}EXTRACT__WORKERS": "2",
    f"{PREFIX}SCHEMA__NAMING": "snake_case",
    f"{PREFIX}DATA_WRITER__BUFFER_MAX_ITEMS": "5000",
    f"{PREFIX}EXPERIMENTATION__EXTRACT__WORKERS": "2",
    f"{PREFIX}MAX_INFLIGHT": " ",
}
"""Variables of other sources, of dlt, of Kubernetes, and one that is blank."""


def test_settings_of_others_are_left_alone(
    fresh_files: Path, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fresh_files / "secrets.toml").write_text(OTHERS)
    (fresh_files / "config.toml").write_text(OTHERS)
    set_environment(monkeypatch, ALONE)

    assert unknown_shared_settings() == []
    assert [unknown_settings(api) for api in load_accounts().values()] == [[]] * len(APIS)
    assert sync(API, "tags")["tags"].status == "complete"


def test_accounts_of_short_or_similar_names_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("eu", "statsig_eu"):
        configure_api(monkeypatch, name, api=API)
    for name in ("us", "statsig_us"):
        configure_api(monkeypatch, name, api_key="of another source")
    assert unknown_shared_settings() == []
    configure_api(monkeypatch, "statsig_eu2", api_key="without its api")
    problem = (
        "SOURCES__STATSIG_EU2__API_KEY is no setting, as statsig_eu2 is no account: did you mean "
        "SOURCES__STATSIG_EU__API_KEY? Another account needs SOURCES__STATSIG_EU2__API"
    )
    assert unknown_shared_settings() == [problem]
    configure_api(monkeypatch, "statsig_eu2", api=API)
    assert unknown_shared_settings() == []


def test_an_account_has_the_names_of_its_api_and_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    eu = {"api": "continuous_integration", "base_url": "http://127.0.0.1:1", "api_key": "k", "org_slugs": "gh/acme"}
    configure_api(monkeypatch, "circle_eu", **eu)
    with pytest.raises(ConfigurationError, match="ORG_SLUGS has no effect in circle_eu: it is for continuous_integr"):
        load_settings(load_accounts()["circle_eu"])
    configure_api(monkeypatch, "circle_eu", profile="circleci")
    account = load_accounts()["circle_eu"]
    assert load_settings(account).org_slugs == ("gh/acme",)
    only = next(name for name in account.by_name if name not in APIS["continuous_integration"].by_name)
    monkeypatch.setenv(f"SOURCES__CONTINUOUS_INTEGRATION__{only.upper()}__LIMIT", "5")
    problem = unknown_settings(APIS["continuous_integration"])
    assert problem
    assert problem[0].startswith(f"SOURCES__CONTINUOUS_INTEGRATION__{only.upper()}__LIMIT is no setting")


def test_settings_that_code_declares_are_known_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "DECLARED", {})
    declare_settings("statsig_eu", {"profile": "statsig"})
    problem = (
        "SOURCES__STATSIG_EU__PROFILE (in code) is not read, as statsig_eu is no account: set "
        'SOURCES__STATSIG_EU__API=experimentation, or api = "experimentation" under [sources.statsig_eu]'
    )
    assert unknown_shared_settings() == [problem]
    declare_settings("statsig_eu", {"api": API, "max_inflight": 4})
    assert unknown_shared_settings() == []
    assert unknown_settings(load_accounts()["statsig_eu"]) == [
        "SOURCES__STATSIG_EU__MAX_INFLIGHT (in code) is no setting: did you mean SOURCES__STATSIG_EU__MAX_IN_FLIGHT?"
    ]


def test_retired_settings_only_warn(sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    configure_api(monkeypatch, API, gates__shards="4", gates_rules__shards="two")

    assert retired_settings(APIS[API])
    assert sync(API, "tags")["tags"].status == "complete"


def test_sections_of_dlt_below_an_account_are_those_that_it_reads(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: set[tuple[str, ...]] = set()
    original = SectionedEnvironment.get_value

    def get_value(self: Any, key: str, hint: Any, pipeline_name: str | None, *sections: str) -> Any:
        read.add((*sections, key))
        return original(self, key, hint, pipeline_name, *sections)

    monkeypatch.setattr(SectionedEnvironment, "get_value", get_value)
    sync("incident_response")
    below = {path[2] for path in read if path[:2] == ("sources", "incident_response") and len(path) > 3}

    assert below - set(APIS["incident_response"].by_name) == OF_DLT | {"incident_response"}


PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "compose.yaml", ROOT / "workspace.production.yaml"]
TEXT = "\n".join(page.read_text() for page in PAGES)
NAMED = sorted(set(re.findall(r"\b(?:SOURCES__|DESTINATION__|ANALYTICS_INGEST_)[A-Z0-9_]*[A-Z0-9]\b(?!__)", TEXT)))
"""The variables that a page, or a file of the deployment, names in full."""


def test_every_variable_that_a_page_names_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(NAMED) > 30
    for name in NAMED:
        with monkeypatch.context() as patch:
            parts = name.lower().split("__")
            # that of a secret names a file that is there
            value = __file__ if name.endswith("_FILE") else "x"
            if parts[0] == "destination":
                patch.setenv("ANALYTICS_INGEST_DESTINATION", parts[1])
                patch.setenv(name, value)
                assert unknown_destination_settings(configured_destination()) == []
                continue
            patch.setenv(name, API if parts[-1] == "api" else value)
            assert unknown_shared_settings() == [], name
            for profiles in PROFILES.values():
                for api in profiles.values():
                    assert unknown_settings(api) == [], name


def test_every_section_that_a_page_shows_is_read(fresh_files: Path) -> None:
    blocks = [block for block in re.findall(r"```toml\n(.*?)```", TEXT, flags=re.DOTALL) if "[sources." in block]

    assert len(blocks) > 5
    for block in blocks:
        (fresh_files / "secrets.toml").write_text(block)
        reload_files()
        accounts = load_accounts()
        [section] = re.findall(r"\[sources\.(\w+)\]", block)
        assert unknown_shared_settings() == []
        assert unknown_settings(accounts[section]) == []
        assert lookup.lookup(accounts[section], "api_key") == "..."
