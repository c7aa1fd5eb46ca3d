"""Reads of an API that load nothing: connection check, change probe, verification. Imports dlt, not Dagster."""
