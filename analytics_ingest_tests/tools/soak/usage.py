"""Memory, descriptors and disk of a soak's processes, sampled while it runs."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

RUN_PROCESSES = ("spawn_main", "forkserver import main")
"""What the command lines of runs, and of their steps that have a process of their own, have in common."""
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def processes_with(marker: str) -> dict[int, str]:
    """The processes of this machine whose environment has a variable ``NAME=value``: command lines by process id."""
    found = {}
    wanted = marker.encode()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return found


def ancestors(pid: int) -> Sequence[int]:
    """The processes that have started a process, the nearest first; none if it is gone."""
    found: list[int] = []
    with suppress(OSError):
        while pid > 1:
            # the name of a command, in parentheses, may have spaces
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            found.append(pid)
    return found


def resident_bytes(pid: int) -> int:
    """The resident memory of a process; 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    except (OSError, IndexError):
        return 0


def descriptors(pid: int) -> int:
    """The open file descriptors of a process; 0 if it is gone."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208
    except OSError:
        return 0


def folder_bytes(folder: Path) -> int:
    """The bytes of all files below a folder."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(path) / name).lstat().st_size
            except OSError:
                continue
    return total


@dataclass
class Series:
    """A value over time: pairs of seconds since the start and the value."""

    samples: list[tuple[float, float]] = field(default_factory=list)

    def level(self, first: float, last: float) -> float:
        """The median of the samples between two times; 0 without any."""
        values = [value for at, value in self.samples if first <= at <= last and value]
        return median(values) if values else 0.0

    @property
    def peak(self) -> float:
        """The highest sample."""
        return max((value for _, value in self.samples), default=0.0)

    @property
    def latest(self) -> float:
        """The last sample."""
        return self.samples[-1][1] if self.samples else 0.0


class Sampler:
    """Samples in a thread of its own, between ``start`` and ``stop``.

    Attributes:
        memory: Resident bytes by part; ``run`` is the largest process of a run.
        files: Open file descriptors by part.
        disk: Bytes by what is measured.
    """

    def __init__(
        self,
        *,
        marker: str,
        parts: Callable[[], Mapping[str, int]],
        disk: Callable[[], Mapping[str, float]],
        every: float,
    ) -> None:
        self.memory: dict[str, Series] = defaultdict(Series)
        self.files: dict[str, Series] = defaultdict(Series)
        self.disk: dict[str, Series] = defaultdict(Series)
        self._marker = marker
        self._parts = parts
        self._disk = disk
        self._every = every
        self._started = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample_repeatedly, name="soak-usage", daemon=True)

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def start(self) -> None:
        """Starts to sample."""
        self._started = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Samples no more."""
        self._stopped.set()
        self._thread.join()

    def run_processes(self) -> Sequence[int]:
        """The processes that execute runs."""
        parts = set(self._parts().values())
        found = processes_with(self._marker)
        return sorted(
            pid for pid, command in found.items() if pid not in parts and any(each in command for each in RUN_PROCESSES)
        )

    def sample_disk(self) -> None:
        """Takes a sample of the disk now."""
        for what, value in self._disk().items():
            self.disk[what].samples.append((self.now, value))

    def _sample_repeatedly(self) -> None:
        number = 0
        while not self._stopped.is_set():
            at = self.now
            for part, pid in self._parts().items():
                self.memory[part].samples.append((at, resident_bytes(pid)))
                self.files[part].samples.append((at, descriptors(pid)))
            if runs := self.run_processes():
                self.memory["run"].samples.append((at, max(map(resident_bytes, runs))))
            if number % 6 == 0:
                self.sample_disk()
            number += 1
            self._stopped.wait(self._every)
