"""The Dagster code location: the assets, checks, jobs, schedules and sensors of every chosen API."""

from dagster import Definitions

from analytics_ingest.config.api import chosen_apis
from analytics_ingest.config.deployment import load_deployment_settings
from analytics_ingest.config.schedule import schedule_settings_or_declared
from analytics_ingest.orchestrate.assets import build_assets
from analytics_ingest.orchestrate.checks_op import build_checks
from analytics_ingest.orchestrate.executors import build_executors
from analytics_ingest.orchestrate.freshness import build_freshness_sensor
from analytics_ingest.orchestrate.jobs import build_jobs
from analytics_ingest.orchestrate.schedules import build_schedules
from analytics_ingest.orchestrate.sensors.changes import build_change_sensor
from analytics_ingest.orchestrate.sensors.failures import build_failure_sensor

deployment = load_deployment_settings()
apis = list(chosen_apis().values())
executor, side_by_side = build_executors()
schedule_settings = {api.name: schedule_settings_or_declared(api) for api in apis}

defs = Definitions(
    assets=[build_assets(api, schedule_settings[api.name]) for api in apis],
    asset_checks=[build_checks(api) for api in apis],
    jobs=build_jobs(apis, side_by_side=side_by_side),
    schedules=[each for api in apis for each in build_schedules(api, schedule_settings[api.name], deployment)],
    sensors=[
        *(build_change_sensor(api, schedule_settings[api.name], deployment) for api in apis),
        build_freshness_sensor(deployment),
        build_failure_sensor(deployment),
    ],
    executor=executor,
)
