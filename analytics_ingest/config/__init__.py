"""Settings: what a user can set, where it is looked up, and what is refused. Knows dlt, not Dagster."""
