"""Dagster's part: assets, checks, jobs, schedules, sensors, executors. The layers below do not import Dagster."""
