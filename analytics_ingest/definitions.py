"""The Dagster code location: the definitions of every account that the settings declare, and the executor of runs."""

from dagster import Definitions

from analytics_ingest.orchestrate.builder import build_definitions
from analytics_ingest.orchestrate.executors import build_executors

executor, side_by_side = build_executors()

defs = Definitions.merge(build_definitions(side_by_side=side_by_side), Definitions(executor=executor))
