"""Sensors: changes in an API, and failures of runs."""
