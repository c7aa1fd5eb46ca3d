"""Where a change at an API shows first: one list of its own, whose first page is looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class ChangeProbe:
    """A list that tells of changes: one request each time, or one for each of its first parents.

    Attributes:
        endpoint: The list. Its first page is compared with what it was, and the total that its envelope states.
        concerns: The endpoints to sync when it has changed.
        blind: What happens at the API without showing there, for people.
        params: Query parameters of this look that differ from the endpoint's, such as an order with the newest first.
    """

    endpoint: str
    concerns: tuple[str, ...]
    blind: str
    params: Mapping[str, Any] = field(default_factory=dict)
