"""An endpoint's resource state, which dlt keeps in the pipeline's state: what the next sync has to know."""

from __future__ import annotations

import copy
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dlt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from analytics_ingest.apis.model import Api, Endpoint

CURSOR = "cursor"
"""Key of the highest cursor value of all syncs, ISO 8601 in UTC."""
PROFILE = "profile"
"""Key of the vendor profile that the rest of the state was written under; absent for none."""
WHOLE = "whole"
"""Key of the start of the last sync that read the whole list of an endpoint with ``whole_every``, ISO 8601 in UTC."""
COLLAPSED = "collapsed"
"""Key of the number of rows left when the table was about to lose too many of them; absent otherwise."""
UNPROVEN = "unproven_since"
"""Key of the first sync, ISO 8601 in UTC, since which rejected rows keep deletions from being marked; absent
otherwise."""
UNDEFINED = "undefined"
"""Key of the paths of the partitions that answered 404 at the last sync; absent for none."""
FIELDS = "fields"
"""Key of the columns of fields that no plain rule gives, see ``ColumnNames``; absent for none."""


def belongs_to_profile(api: Api, state: Mapping[str, Any]) -> bool:
    """Whether a resource's state was written under the API's profile; state from another upstream is ignored."""
    return not state or state.get(PROFILE, "") == api.profile


def stored_cursor(state: Mapping[str, Any]) -> datetime | None:
    """The highest cursor value in a resource's state, UTC; ``None`` if there is none."""
    return datetime.fromisoformat(state[CURSOR]) if CURSOR in state else None


def is_whole_due(endpoint: Endpoint, state: Mapping[str, Any], now: datetime) -> bool:
    """Whether the list of an endpoint that the API filters is to be read as a whole, see ``Endpoint.whole_every``."""
    if endpoint.whole_every is None:
        return False
    return WHOLE not in state or now - datetime.fromisoformat(state[WHOLE]) >= endpoint.whole_every


class ResourceState:
    """One resource's state in three versions: as the sync changes it, as dlt extracted it, as it was loaded.

    Attributes:
        values: The state as the sync changes it.
    """

    def __init__(self, saved: Mapping[str, Any], *, profile: str) -> None:
        """Starts with what the last sync left.

        Args:
            saved: The state as it was saved; it is not changed.
            profile: The API's profile; empty for none.
        """
        self.values: dict[str, Any] = copy.deepcopy(dict(saved))
        if profile:
            self.values[PROFILE] = profile
        self._extracted = self._loaded = copy.deepcopy(self.values)

    @property
    def is_changed(self) -> bool:
        """Whether it differs from what dlt was last given."""
        return self.values != self._extracted

    def extract(self, resource: str) -> None:
        """Gives dlt the state, within an extraction of the resource."""
        state = dlt.current.resource_state(resource)
        state.clear()
        state.update(copy.deepcopy(self.values))
        self._extracted = copy.deepcopy(self.values)

    def mark_loaded(self) -> None:
        """Records that what dlt extracted is loaded."""
        self._loaded = self._extracted

    def load_failed(self) -> None:
        """Records that what dlt extracted since the last load was not loaded."""
        self._extracted = self._loaded

    def discard_changes(self) -> None:
        """Goes back to the state that was last loaded."""
        self.values = copy.deepcopy(self._loaded)
        self._extracted = self._loaded

    def set_or_remove(self, key: str, value: Any) -> None:
        """Sets ``key``, or removes it if ``value`` is empty."""
        if value:
            self.values[key] = value
        else:
            self.values.pop(key, None)
