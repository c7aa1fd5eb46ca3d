"""The fixtures of ``http``: lists are read by the same sessions."""

from analytics_ingest_tests.http.conftest import client, running, shared, upstream

__all__ = ["client", "running", "shared", "upstream"]
