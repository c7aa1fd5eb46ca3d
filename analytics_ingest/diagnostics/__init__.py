"""Reads of an API that load nothing: connection check, change probe, verification. Knows dlt, not Dagster."""
