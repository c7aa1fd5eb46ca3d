"""How to read it: from a declaration to a dlt source, over one HTTP session per API. Knows dlt, not Dagster."""
