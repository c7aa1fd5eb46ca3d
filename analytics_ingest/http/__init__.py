"""Requests pages: session, limits, retries, paginators and selectors. Imports dlt, not Dagster."""
