"""One sync of one API: what is read and loaded, in which order. Knows dlt, not Dagster."""
