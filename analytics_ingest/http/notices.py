"""What the responses of one endpoint say beside their rows: headers that announce a change, fields of the envelope."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

HEADERS = ("Deprecation", "Sunset", "Warning")
"""Headers that announce the end of an endpoint, or a doubt about its rows (RFC 9745, RFC 8594, RFC 7234)."""
MAX_FIELDS = 100
"""Fields of an envelope that are noted; an object with more is no envelope but a map."""
MAX_NAME = 200
"""Characters of a field's name that are noted."""


@dataclass
class Notices:
    """What the responses of one endpoint say beside their rows; several threads may add to it.

    Attributes:
        headers: By name the first values of ``HEADERS``, masked; ``None`` before the first response.
        fields: Names of the fields of its envelopes, as sent.
    """

    headers: dict[str, str] | None = None
    fields: frozenset[str] = field(default_factory=frozenset)

    def add_fields(self, names: Iterable[str]) -> None:
        """Notes the fields of an envelope."""
        found = self.fields | {name[:MAX_NAME] for name in names}
        if len(found) <= MAX_FIELDS:
            self.fields = found
