"""The reference page of all settings, from the descriptions in their models: ``make docs`` writes it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from pydantic import SecretStr

from analytics_ingest.apis.registry import APIS, PROFILES
from analytics_ingest.config.api_settings import EndpointSettings, Settings
from analytics_ingest.config.deployment import DeploymentSettings, environment_variable
from analytics_ingest.config.schedule import ScheduleSettings
from analytics_ingest.config.secret_files import SUFFIX
from analytics_ingest.config.validation import Reference, secret_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

HEAD = """\
<!-- `make docs` writes this page from the models in `analytics_ingest/config/`: change the descriptions there. -->

# Settings

An API needs a key, and a profile or a base URL. All other settings have a default.

## How to write them

The settings of an API, its schedules and its endpoints are looked up in three places. The first that has one wins:

| place | written as |
|---|---|
| the environment | `SOURCES__EXPERIMENTATION__MAX_IN_FLIGHT=8` |
| `.dlt/secrets.toml`, which git ignores | `max_in_flight = 8` under `[sources.experimentation]` |
| `.dlt/config.toml` | the same, but for `api_key`, which is not read from there |

The settings of the deployment are read from the environment alone. `.dlt` is that of the
[project](destinations.md#duckdb) if it has one, else that of the working directory; `DLT_PROJECT_DIR` names another
folder that has a `.dlt`.

- Seconds and shares may have a fraction; all other numbers are whole.
- A list is written `a, b`, or as JSON if its elements have commas: `["a, b", "c"]`. In TOML it may be an array.
- A blank value counts as not set.
- A value that is not valid is refused with the name of its variable.
- In a file, the setting of an endpoint is `gates__limit = 7` under `[sources.experimentation]`, or `limit = 7` under
  `[sources.experimentation.gates]`. Variables are written in capitals, names in files in lower case.

## Secrets in files

A secret may be in a file of its own: the variable with `_FILE` at its end has the file's path, such as
`SOURCES__EXPERIMENTATION__API_KEY_FILE=/run/secrets/experimentation_api_key`. So neither a container's configuration
nor a process's environment has the secret. These variables can be written so:

- an account: `SOURCES__<API>__API_KEY_FILE`;
- the deployment: {secrets};
- the destination: `DESTINATION__<NAME>__CREDENTIALS_FILE` (the connection string),
  `DESTINATION__<NAME>__CREDENTIALS__PASSWORD_FILE`, and whatever else dlt declares as secret, such as `PRIVATE_KEY`;
- Dagster's storage: `DAGSTER_POSTGRES_URL_FILE`, in the image alone ([deployment.md](deployment.md#secrets)).

The file is read at each use, without the line break at its end: a sync that starts after the file has changed uses the
new secret. A file that is missing, empty or not readable is an error that names the setting and the path. So is a
secret that is set in both ways. `analytics-ingest settings` prints the path in place of the value.

## Names that nothing reads

A name that nothing reads is refused before the first request, with the nearest right one:

| where it is | what is refused |
|---|---|
| in the section of an account | unknown names and endpoints, and settings that the API does not use |
| a variable `ANALYTICS_INGEST_...` | unknown names |
| in the section of the destination in use | settings that the destination does not have |
| anywhere else | a name or a section that differs from a known one by one letter, or by two if it is long |

Sections of other dlt sources and of other destinations, dlt's own settings, and variables of other programs are left
alone. Settings that have no effect any more only cause a warning.

The code location loads all the same. A warning names the setting, and so does the metadata `configuration` of the
assets that are not synced until it is right.

`analytics-ingest settings` prints the settings that are in force, where each comes from, and what is wrong;
`analytics-ingest settings experimentation` those of one account. `analytics-ingest check` reports the same problems,
and tests the key.

## Accounts

A section with `api` is another account of that API, with its own key, assets and dataset, and all settings below
([accounts](projects.md#accounts), and a query that unites the tables of two):

```toml
[sources.statsig_eu]
api = "experimentation"
profile = "statsig"
api_key = "..."
```

In the environment: `SOURCES__STATSIG_EU__API=experimentation`, `SOURCES__STATSIG_EU__PROFILE=statsig` and so on. The
five APIs need no `api`.
"""
API = """\
## An API

`SOURCES__<API>__<SETTING>`; read when a sync starts, unless stated otherwise.
"""
ENDPOINT = """\
## An endpoint

`SOURCES__<API>__<ENDPOINT>__<SETTING>`; read when a sync starts.
"""
SCHEDULE = """\
## Schedules and assets

`SOURCES__<API>__<SETTING>`; read when the code location loads: after a change choose *Reload* in the Dagster UI.
"""
APIS_HEAD = """\
## By API

The profiles that there are, and the cron expressions that hold unless others are set.
"""
DEPLOYMENT = """\
## The deployment

`ANALYTICS_INGEST_<SETTING>` in the environment, for all APIs; read at each use, unless stated otherwise.
"""
DESTINATION = """\
A destination's own settings are dlt's ([destinations.md](destinations.md)). DuckDB's file is
`data/analytics_ingest.duckdb` in the [project](destinations.md#duckdb) unless
`DESTINATION__DUCKDB__CREDENTIALS=/path/file.duckdb` names another.
"""


def build_page() -> str:
    """The text of ``docs/settings.md``."""
    of_deployment = [name for name in DeploymentSettings.model_fields if name in secret_fields(DeploymentSettings)]
    secrets = ", ".join(f"`{environment_variable(name)}{SUFFIX}`" for name in of_deployment)
    apis = [
        (f"`{name}`", _either(PROFILES[name]), f"`{api.cron}`", f"`{api.full_refresh_cron}`")
        for name, api in APIS.items()
    ]
    parts = [
        HEAD.replace("{secrets}", secrets),
        API,
        _settings_table(Settings, str.upper),
        ENDPOINT,
        _settings_table(EndpointSettings, str.upper),
        SCHEDULE,
        _settings_table(ScheduleSettings, str.upper),
        APIS_HEAD,
        _table(("API", "`PROFILE`", "`CRON`", "`FULL_REFRESH_CRON`"), apis),
        DEPLOYMENT,
        _settings_table(DeploymentSettings, environment_variable),
        DESTINATION,
    ]
    return "\n".join(parts)


def _settings_table(model: type[BaseModel], name: Callable[[str], str]) -> str:
    # what must be set comes first
    fields = sorted(model.model_fields.items(), key=lambda item: not item[1].is_required())
    rows = [(f"`{name(key)}`", _values(field), _default(field), field.description or "") for key, field in fields]
    return _table(("setting", "value", "default", "what it does"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head_line, *lines = (f"| {' | '.join(line)} |\n" for line in (head, *rows))
    return "".join([head_line, "|---" * len(head), "|\n", *lines])


def _reference(field: FieldInfo) -> Reference | None:
    return next((each for each in field.metadata if isinstance(each, Reference)), None)


def _values(field: FieldInfo) -> str:
    """The values that a field takes, or their unit."""
    if reference := _reference(field):
        return reference.unit
    kind: Any = field.annotation
    return _either(get_args(kind) if get_origin(kind) is Literal else ("true", "false"))


def _either(choices: Iterable[str]) -> str:
    shown = [f"`{each}`" for each in choices]
    if not shown:
        return "none"
    *others, last = shown
    return f"{', '.join(others)} or {last}" if others else last


def _default(field: FieldInfo) -> str:
    reference = _reference(field)
    if reference and reference.default:
        return reference.default
    value = field.default
    if isinstance(value, bool):
        value = str(value).lower()
    elif isinstance(value, tuple):
        value = ", ".join(value)
    elif isinstance(value, SecretStr):
        value = value.get_secret_value()
    return "none" if value in (None, "") else f"`{value}`"


if __name__ == "__main__":
    sys.stdout.write(build_page())
