"""The command line ``analytics-ingest``: one module per command."""
