"""Where it goes: the destination, its locks, and what its tables hold. Knows dlt, not Dagster."""
