"""A fan-out is a sweep over the parents in a fixed order; its place is kept, so a killed one goes on from there."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from analytics_ingest.apis.model import Endpoint
    from analytics_ingest.extract.stats import Partition

UNFINISHED = "sweep"
"""Key in the resource's state: the sweep that did not end, as mode, began and the path it has come to."""
SWEPT = "swept"
"""Key in the resource's state: when the last sweep that ended began, or the newest of its parents was loaded if that
was earlier, ISO 8601 in UTC."""
FAILED = "failed"
"""Key in the resource's state: paths of the parents that could not be read last time."""


@dataclass
class FanOutPlan:
    """Which parents one sync asks, and how far it has come.

    Attributes:
        mode: What decides which parents are asked; another mode begins a sweep anew.
        began: When the feed was first read, UTC.
        newest: When the newest of the parents was loaded, in epoch seconds, by the clock of its load.
        parents: The parents to ask, in order: those that failed last time, then by path.
        whole: Whether every parent of the feed is among them.
        paths: The paths of every parent of the feed; ``None`` if there are others that it leaves out.
        done: The path up to which earlier syncs of this sweep have come.
        failed: Paths that failed and were not read since.
        keep_time: Whether the time of the sweep is of use to the next one; ``once``: whether there was one at all.
        pending: Whether parents among them were not loaded yet when it began.
    """

    mode: str
    began: datetime
    newest: float
    parents: Sequence[Partition]
    whole: bool
    paths: frozenset[str] | None
    done: str = ""
    failed: set[str] = field(default_factory=set)
    keep_time: Literal["always", "once", "never"] = "never"
    pending: bool = False

    def __post_init__(self) -> None:
        late = {parent.path for parent in self.parents if parent.naming.late}
        self._out_of_order = frozenset(self.failed) | late

    def reach(self, state: dict[str, Any], path: str) -> None:
        """Notes in the resource's state that the sweep has come to ``path``."""
        # those that failed last time come first, late ones last
        self.done = self.done if path in self._out_of_order else path
        state[UNFINISHED] = {"mode": self.mode, "began": self.began.isoformat(), "done": self.done}
        self._note_failed(state)

    def end(self, state: dict[str, Any]) -> bool:
        """Notes in the resource's state that every parent was asked. False if that changes nothing."""
        before = dict(state)
        state.pop(UNFINISHED, None)
        if self.keep_time == "always" and self.parents:
            state[SWEPT] = self._time
        elif self.keep_time != "never" and not self.failed:
            # a first sweep that could not read all of what only the first one asks for does not count as one
            state.setdefault(SWEPT, self._time)
        self._note_failed(state)
        return state != before

    @property
    def _time(self) -> str:
        """When the sweep began, but not later than its newest parent: a clock that was ahead would hide later ones."""
        newest = datetime.fromtimestamp(self.newest, tz=UTC) if self.newest else self.began
        return min(self.began, newest).isoformat()

    def loaded(self, state: dict[str, Any], now: datetime) -> None:
        """Notes in the resource's state that all parents are loaded ``now``: by that the next sweep tells new ones."""
        if self.pending and state.get(SWEPT) == self._time:
            state[SWEPT] = now.isoformat()

    def _note_failed(self, state: dict[str, Any]) -> None:
        if self.failed:
            state[FAILED] = sorted(self.failed)
        else:
            state.pop(FAILED, None)


def plan_fan_out(
    endpoint: Endpoint,
    parents: Sequence[Partition],
    state: Mapping[str, Any],
    *,
    mode: str,
    now: datetime,
    resume_within: float,
    changing: Collection[str] = (),
    windowed: bool = False,
    pending: bool = False,
) -> FanOutPlan:
    """Decides which parents are asked.

    Args:
        endpoint: The child.
        parents: The rows of its feed, by path.
        state: The resource's state, as the last sync left it.
        mode: ``all``: every parent. ``changed``: those whose row was loaded since the last sweep began, those
            without ``updated_at``, and those that failed. Anything else counts as ``all`` under a name of its own.
        now: When the feed was read.
        resume_within: Seconds after its beginning within which a sweep that did not end is gone on with.
        changing: Paths of the parents whose rows still change: they are asked whatever their own row says.
        windowed: Whether the parents are those of a window, which says nothing of the others.
        pending: Whether parents among them are not loaded yet.
    """
    before = frozenset(state.get(FAILED, ()))
    failed = {parent.path for parent in parents if not before.isdisjoint((parent.path, parent.former))}
    unfinished = state.get(UNFINISHED, {})
    began, done = now, ""
    if unfinished.get("mode") == mode:
        first = datetime.fromisoformat(unfinished["began"])
        if now - first < timedelta(seconds=resume_within):
            began, done = first, unfinished["done"]
    swept = datetime.fromisoformat(state[SWEPT]) if SWEPT in state else None
    if swept is not None and swept > now:
        # a clock was ahead: which parents are new since cannot be told
        swept = None
    asked = [
        parent
        for parent in parents
        if parent.path in failed
        or (
            (parent.naming.late or max(parent.path, parent.former) > done)
            and (parent.path in changing or _is_due(parent, swept, mode))
        )
    ]
    feed = endpoint.parents
    keep_time: Literal["always", "once", "never"] = "never"
    if feed is not None and not windowed:
        # a sweep's time costs a load package
        keep_time = "always" if mode == "changed" or feed.settles else "once" if feed.open_ended else "never"
    return FanOutPlan(
        mode=mode,
        began=began,
        newest=max((parent.mark.load_id for parent in parents), default=0.0),
        parents=sorted(asked, key=lambda parent: (parent.naming.late, parent.path not in failed, parent.path)),
        whole=len(asked) == len(parents),
        paths=None if feed is not None and feed.open_ended else frozenset(parent.path for parent in parents),
        done=done,
        failed=failed,
        keep_time=keep_time,
        pending=pending,
    )


def _is_due(parent: Partition, swept: datetime | None, mode: str) -> bool:
    if swept is None or mode not in ("all", "changed"):
        return True
    # the state has microseconds, a load's id may have more digits
    loaded_since = parent.mark.load_id > swept.timestamp() + 0.001
    if parent.mark.settled:
        return loaded_since
    return mode == "all" or parent.mark.updated_at is None or loaded_since
