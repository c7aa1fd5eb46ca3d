"""Five REST APIs as one local server, with seeded data that hangs together.

It stands in for the real upstreams in the demo and in the tests, and shares no code with what reads them.
"""

from analytics_ingest.sandbox.asgi import SandboxApp, create_app
from analytics_ingest.sandbox.journal import Journal, Record
from analytics_ingest.sandbox.options import Fault, Options
from analytics_ingest.sandbox.routes import APIS, BASE_PATHS, ROUTES
from analytics_ingest.sandbox.server import SandboxServer, stop_signals
from analytics_ingest.sandbox.truth import KEYS, key_columns
from analytics_ingest.sandbox.world import Changes, Counts, World

__all__ = [
    "APIS",
    "BASE_PATHS",
    "KEYS",
    "ROUTES",
    "Changes",
    "Counts",
    "Fault",
    "Journal",
    "Options",
    "Record",
    "SandboxApp",
    "SandboxServer",
    "World",
    "create_app",
    "key_columns",
    "stop_signals",
]
