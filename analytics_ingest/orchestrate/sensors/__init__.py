"""The sensors: changes in an API, and failed runs."""
