"""Plans a fan-out: which partitions of a child are read, in which order, and where an interrupted one resumes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from analytics_ingest.apis.model import Endpoint
    from analytics_ingest.extract.partitions import Partition

UNFINISHED = "sweep"
"""Key in the resource's state of the fan-out that did not end: its mode, when it began, the path it has come to."""
LAST_FAN_OUT = "swept"
"""Key in the resource's state of the start of the last fan-out that ended, or of the time at which the newest of its
parents was loaded if that was earlier; ISO 8601 in UTC."""
FAILED = "failed"
"""Key in the resource's state of the paths of the partitions that could not be read at the last sync."""


@dataclass
class FanOutPlan:
    """The partitions that one sync reads of an endpoint, and how far earlier syncs of the same fan-out have come.

    Attributes:
        mode: What decides which partitions are read; another mode starts a fan-out anew.
        began: When the parents were first read, UTC.
        newest: When the newest of the parents was loaded, in epoch seconds, by the clock of its load.
        partitions: The partitions to read, in order: those that failed last time, then by path, then late ones.
        whole: Whether they are all partitions of the endpoint.
        paths: The paths of all partitions; ``None`` if the endpoint has others outside the sync's window.
        done: The path up to which earlier syncs of this fan-out have come.
        failed: Paths that failed and were not read since.
        keep_time: Whether the next fan-out needs the time of this one; ``once``: whether there was one at all.
        pending: Whether parents among them were not loaded yet when it was planned.
        leaves_covered: Whether it leaves out partitions whose rows another endpoint's lists have.
        is_aside: Whether its lists are read apart from the fan-outs, which go on from their place after it.
    """

    mode: str
    began: datetime
    newest: float
    partitions: Sequence[Partition]
    whole: bool
    paths: frozenset[str] | None
    done: str = ""
    failed: set[str] = field(default_factory=set)
    keep_time: Literal["always", "once", "never"] = "never"
    pending: bool = False
    leaves_covered: bool = False
    is_aside: bool = False

    def __post_init__(self) -> None:
        """Notes which partitions are not in the order of their paths."""
        late = {partition.path for partition in self.partitions if partition.naming.late}
        self._out_of_order = frozenset(self.failed) | late

    def record_progress(self, state: dict[str, Any], path: str) -> None:
        """Records in the resource's state that every partition up to ``path`` was read."""
        if self.is_aside:
            return
        # those that failed last time come first, late ones last
        self.done = self.done if path in self._out_of_order else path
        state[UNFINISHED] = {"mode": self.mode, "began": self.began.isoformat(), "done": self.done}
        self._record_failed(state)

    def record_end(self, state: dict[str, Any]) -> None:
        """Records in the resource's state that every partition was read, or failed."""
        if self.is_aside:
            return
        state.pop(UNFINISHED, None)
        if self.keep_time == "always" and self.partitions:
            state[LAST_FAN_OUT] = self._time
        elif self.keep_time != "never" and not self.failed:
            # a first fan-out that could not read all of what only the first one reads does not count as one
            state.setdefault(LAST_FAN_OUT, self._time)
        self._record_failed(state)

    @property
    def _time(self) -> str:
        """When it began, but not later than its newest parent: a clock that was ahead would hide later ones."""
        newest = datetime.fromtimestamp(self.newest, tz=UTC) if self.newest else self.began
        return min(self.began, newest).isoformat()

    def record_load(self, state: dict[str, Any], now: datetime) -> None:
        """Records that all parents are loaded ``now``, so that the next fan-out detects new ones."""
        if self.pending and state.get(LAST_FAN_OUT) == self._time:
            state[LAST_FAN_OUT] = now.isoformat()

    def _record_failed(self, state: dict[str, Any]) -> None:
        if self.failed:
            state[FAILED] = sorted(self.failed)
        else:
            state.pop(FAILED, None)


def plan_fan_out(
    endpoint: Endpoint,
    partitions: Sequence[Partition],
    state: Mapping[str, Any],
    *,
    mode: str,
    now: datetime,
    resume_within: float,
    changing: Collection[str] = (),
    windowed: bool = False,
    pending: bool = False,
    only: Collection[str] | None = None,
    reads_covered: bool = False,
) -> FanOutPlan:
    """Decides which partitions are read.

    Args:
        endpoint: The endpoint.
        partitions: All its partitions, by path.
        state: The resource's state, as the last sync left it.
        mode: ``all``: every partition. ``changed``: those whose parent was loaded since the last fan-out began, whose
            parent has no ``updated_at``, or that failed. Anything else counts as ``all`` under a name of its own.
        now: When the parents were read.
        resume_within: Seconds after its start within which an interrupted fan-out is resumed.
        changing: Paths of partitions that have rows which still change: they are read whatever their parent's row says.
        windowed: Whether the partitions are those of a window, and so not evidence of the others.
        pending: Whether parents among them are not loaded yet.
        only: Paths of the only partitions to read, apart from the fan-outs; ``None`` to read those that are due.
        reads_covered: Whether to read also the partitions whose rows another endpoint's lists have.
    """
    if only is not None:
        return FanOutPlan(
            mode=mode,
            began=now,
            newest=0.0,
            partitions=[each for each in partitions if each.path in only],
            whole=False,
            paths=_paths(endpoint, partitions),
            is_aside=True,
        )
    readable = [each for each in partitions if reads_covered or not each.covered]
    failed_before = frozenset(state.get(FAILED, ()))
    failed = {each.path for each in readable if not failed_before.isdisjoint((each.path, each.former))}
    unfinished = state.get(UNFINISHED, {})
    began, done = now, ""
    if unfinished.get("mode") == mode:
        first = datetime.fromisoformat(unfinished["began"])
        if now - first < timedelta(seconds=resume_within):
            began, done = first, unfinished["done"]
    last = datetime.fromisoformat(state[LAST_FAN_OUT]) if LAST_FAN_OUT in state else None
    if last is not None and last > now:
        # a clock was ahead: which parents are new since then is unknown
        last = None
    due = [
        each
        for each in readable
        if each.path in failed
        or (
            (each.naming.late or max(each.path, each.former) > done)
            and (each.path in changing or _is_due(each, last, mode))
        )
    ]
    source = endpoint.parents
    keep_time: Literal["always", "once", "never"] = "never"
    if source is not None and not windowed:
        # saving the time costs a load package
        keep_time = "always" if mode == "changed" or source.can_settle else "once" if source.open_ended else "never"
    return FanOutPlan(
        mode=mode,
        began=began,
        newest=max((each.version.load_id for each in partitions), default=0.0),
        partitions=sorted(due, key=lambda each: (each.naming.late, each.path not in failed, each.path)),
        whole=len(due) == len(partitions),
        paths=_paths(endpoint, partitions),
        done=done,
        failed=failed,
        keep_time=keep_time,
        pending=pending,
        leaves_covered=len(readable) < len(partitions),
    )


def _paths(endpoint: Endpoint, partitions: Sequence[Partition]) -> frozenset[str] | None:
    """The paths of all partitions; ``None`` if there may be others."""
    source = endpoint.parents
    return None if source is not None and source.open_ended else frozenset(each.path for each in partitions)


def _is_due(partition: Partition, last: datetime | None, mode: str) -> bool:
    if last is None or mode not in ("all", "changed"):
        return True
    # the state has microseconds, a load's id may have more digits
    loaded_since = partition.version.load_id > last.timestamp() + 0.001
    if partition.version.settled:
        return loaded_since
    return mode == "all" or partition.version.updated_at is None or loaded_since
