"""The settings: their models, their look-up and validation, and the page that lists them. Knows dlt, not Dagster."""
