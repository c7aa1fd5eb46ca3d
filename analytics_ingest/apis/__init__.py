"""Declares what to read: one module per API, as data."""
