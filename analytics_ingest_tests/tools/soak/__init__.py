"""The soak: hours of syncs against an upstream that changes and fails, with processes that are killed."""
