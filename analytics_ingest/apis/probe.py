"""Where a change at an API shows first: one list of its own, whose first page is looked at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A list that tells of changes, one request each time.

    Attributes:
        endpoint: The list. Its first page is compared with what it was, and the total that its envelope states.
        concerns: The endpoints to sync when it has changed.
        blind: What happens at the API without showing there, for people.
    """

    endpoint: str
    concerns: tuple[str, ...]
    blind: str
