"""The names of the tables, views and columns that the product keeps beside the tables of endpoints."""

from __future__ import annotations

OWN_VIEW = "analytics_ingest"
"""The beginning of the comment on the product's own views: only such a view is dropped and created again."""
PREFIX = "_history_"
SUFFIX = "_as_of"
PRESENT = "_present"
OPERATION = "_operation"
"""Column with what happened to the row."""
SEEN_AT = "_seen_at"
"""Column with the start, UTC, of the sync that saw it."""
CHANGED_AT = "_changed_at"
"""Column with the vendor's time of the change, UTC, if it lies between that sync and the one before."""
VALID_FROM, VALID_TO = "_valid_from", "_valid_to"
"""Columns of a view: the version holds from the first time, included, to the second, excluded; null: still."""
CHANGES = "_changes"
"""The view of an API's changes."""
SYNCS = "_syncs"
"""The ledger: a row for each endpoint and sync."""
VERIFICATIONS = "_verifications"
"""How far the comparison of each table with the API has come, and what it found."""
META = "ingest_meta"
"""The schema with the view of all APIs' changes."""
ALL_CHANGES = "changes"


def history_table(endpoint: str) -> str:
    """The table with the versions of an endpoint's rows."""
    return PREFIX + endpoint


def present_view(endpoint: str) -> str:
    """The view of an endpoint's rows that are not marked as deleted, with the API's columns only."""
    return endpoint + PRESENT


def as_of_view(endpoint: str) -> str:
    """The view of an endpoint's versions with their validity."""
    return endpoint + SUFFIX
