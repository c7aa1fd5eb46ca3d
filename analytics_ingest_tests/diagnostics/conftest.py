"""Warehouses that are filled already, as for the tests of a sync."""

from analytics_ingest_tests.sync.conftest import filled

__all__ = ["filled"]
