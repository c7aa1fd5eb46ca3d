"""The warehouse: destinations, locks, loading, columns, queries of tables. Imports dlt, not Dagster."""
