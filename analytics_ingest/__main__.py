"""``python -m analytics_ingest``: the command line."""

from analytics_ingest.cli.app import app

app(prog_name="analytics-ingest")
