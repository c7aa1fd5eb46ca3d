"""The code location: everything that Dagster finds here."""

from dagster import Definitions, in_process_executor

from analytics_ingest.apis import APIS
from analytics_ingest.orchestrate.assets import build_assets
from analytics_ingest.orchestrate.jobs import build_jobs

defs = Definitions(
    assets=[build_assets(api) for api in APIS.values()],
    jobs=build_jobs(APIS.values()),
    executor=in_process_executor,
)
