"""One request and one page: session, limits, retries, paginator, selector. Knows dlt, not Dagster."""
