"""What to read: one module per API, nearly pure data."""
