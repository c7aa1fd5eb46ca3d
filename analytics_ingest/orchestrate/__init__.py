"""When, and with what guarantees: assets and jobs. The only layer that knows Dagster."""
