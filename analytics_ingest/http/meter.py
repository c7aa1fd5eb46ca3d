"""Counts the requests of one endpoint."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass
class Meter:
    """The requests, retries and seconds waited of one endpoint, counted by several threads."""

    requests: int = 0
    retries: int = 0
    wait_seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, *, requests: int = 0, retries: int = 0, wait_seconds: float = 0.0) -> None:
        """Adds to the counts."""
        with self._lock:
            self.requests += requests
            self.retries += retries
            self.wait_seconds += wait_seconds
