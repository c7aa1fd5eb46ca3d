"""One endpoint: its partitions, lists, rows and state, and the dlt resource they become. Knows dlt, not Dagster."""
