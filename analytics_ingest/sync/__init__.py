"""One sync of one API: what is read, in which order, and what is kept of it. Knows dlt, not Dagster."""
