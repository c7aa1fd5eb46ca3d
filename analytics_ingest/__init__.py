"""A Dagster code location that keeps a warehouse in step with five REST APIs."""
