"""Threads that read the lists of one API while the calling thread loads the rows."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from queue import SimpleQueue
from typing import TYPE_CHECKING, Self

from analytics_ingest.http.session import Pause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from analytics_ingest.extract.endpoint_reader import EndpointReader
    from analytics_ingest.extract.list_reader import PageResult
    from analytics_ingest.extract.partition_queue import QueueState
    from analytics_ingest.http.rate_limit import Clock

READ_AHEAD = 3_000
"""Rows that may wait for the calling thread; above this, the threads wait."""
READ_AHEAD_BYTES = 16 * 1024 * 1024
"""Bytes of responses whose rows may wait for the calling thread; above this, the threads wait."""
GRACE = 5.0
"""Seconds that the end of a sync waits for requests under way."""


@dataclass(eq=False)
class _List:
    """A list that is being read, by one thread at a time."""

    reader: EndpointReader
    steps: Iterator[PageResult | Pause]
    queue_state: QueueState


class ReadPool:
    """Reads the lists of several endpoints at once, the endpoints in turn; each list is read by one thread at a time.

    A list that pauses before a retry occupies no thread until then. If the failure may concern the whole API, no more
    lists are started meanwhile than there are threads, as more would fail too.

    Why not dlt's own extract workers: dlt moves each of their pages through its pipe in the calling thread, which
    costs more than the request. Here dlt gets batches of rows.
    """

    def __init__(self, threads: int, *, halt: Callable[[], None], clock: Clock) -> None:
        """Starts no thread.

        Args:
            threads: Lists read at once, at most.
            halt: Called at the end, so that no request is sent any more.
            clock: The session's clock.
        """
        self._changed = threading.Condition()
        self._readers: deque[EndpointReader] = deque()
        self._inbox: SimpleQueue[tuple[EndpointReader, PageResult] | BaseException] = SimpleQueue()
        self._waiting_rows = self._waiting_bytes = 0
        self._closed = False
        self._clock = clock
        # lists in a pause: when it is over, their number, whether the failure is the list's own
        self._paused: list[tuple[float, int, bool, _List]] = []
        self._number = count()
        # how many of their failures may concern the whole API, and whether a thread waits for the first pause to end
        self._failing = 0
        self._is_watched = False
        self._halt = halt
        self._threads = [threading.Thread(target=self._work, name=f"read-{n}", daemon=True) for n in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._halt()
        for thread in self._threads:
            # do not wait for a thread in a long pause or an unanswered request: it finds the session closed
            thread.join(GRACE / len(self._threads))

    def add(self, reader: EndpointReader) -> None:
        """Starts to read an endpoint."""
        with self._changed:
            self._readers.append(reader)
            self._changed.notify_all()

    def process_pages(self, *, until: Callable[[], bool]) -> None:
        """Gives readers the pages that came, in the calling thread, and waits for more, until ``until`` is true.

        Raises:
            AuthenticationError: The API refused the key.
        """
        while not until():
            came = self._inbox.get()
            if isinstance(came, BaseException):
                raise came
            reader, page = came
            rows = len(page.rows)
            reader.process_page(page)
            with self._changed:
                held_up = self._is_full
                self._waiting_rows -= rows
                self._waiting_bytes -= page.size
                if held_up and not self._is_full:
                    self._changed.notify_all()

    @property
    def _is_full(self) -> bool:
        """Whether so much waits for the calling thread that the threads wait."""
        return self._waiting_rows > READ_AHEAD or self._waiting_bytes > READ_AHEAD_BYTES

    @property
    def has_more(self) -> bool:
        """Whether a page waits for the calling thread."""
        return not self._inbox.empty()

    def _work(self) -> None:
        try:
            while found := self._next():
                self._read(found)
        except BaseException as error:  # noqa: BLE001 - raised in the calling thread
            self._inbox.put(error)

    def _read(self, found: _List) -> None:
        """Reads a list to its end, or up to a pause."""
        reader = found.reader
        for page in found.steps:
            if isinstance(page, Pause):
                self._pause(found, page)
                return
            with self._changed:
                self._changed.wait_for(lambda: not self._is_full or self._closed)
                self._waiting_rows += len(page.rows)
                self._waiting_bytes += page.size
            self._inbox.put((reader, page))
            if page.is_last and (reader.queue.state is not found.queue_state or reader.queue.has_late):
                with self._changed:
                    self._changed.notify_all()

    def _pause(self, found: _List, pause: Pause) -> None:
        with self._changed:
            self._failing += not pause.expected
            heappush(self._paused, (self._clock.now() + pause.seconds, next(self._number), pause.expected, found))
            self._changed.notify_all()

    def _next(self) -> _List | None:
        """The list to read next, from its start or after a pause; ``None`` once the pool is closed."""
        with self._changed:
            while not self._closed:
                if found := self._resumed() or self._started():
                    return found
                if not self._paused or self._is_watched:
                    self._changed.wait()
                    continue
                self._is_watched = True
                self._clock.wait(self._changed, max(0.0, self._paused[0][0] - self._clock.now()))
                self._is_watched = False
                # this thread may have something to do now, and then another one has to watch
                self._changed.notify_all()
        return None

    def _resumed(self) -> _List | None:
        """A list whose pause is over."""
        if not self._paused or self._paused[0][0] > self._clock.now():
            return None
        _, _, expected, found = heappop(self._paused)
        self._failing -= not expected
        return found

    def _started(self) -> _List | None:
        """The list to start now, of the endpoints in turn."""
        if self._failing >= len(self._threads):
            return None
        for _ in range(len(self._readers)):
            reader = self._readers.popleft()
            partition = reader.queue.next()
            if not reader.queue.is_exhausted:
                self._readers.append(reader)
            if partition:
                return _List(reader, reader.read(partition, stopped=lambda: self._closed), reader.queue.state)
        return None
