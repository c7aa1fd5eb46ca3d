"""The warehouse's exceptions, and the chain of exceptions behind one that dlt raised."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

WRAPPED = ("exception", "client_exception", "dbapi_exception", "inner_exc", "__cause__")
"""Attributes in which dlt's exceptions keep the exception that they were raised for."""


class LockTimeoutError(TimeoutError):
    """Another process holds a lock for too long. The message names that process, and since when it has the lock."""


class WarehouseError(RuntimeError):
    """The warehouse cannot be used as it is. The message names the obstacle.

    Attributes:
        transient: Whether the destination failed, and not the data: another package would fail as well.
    """

    def __init__(self, message: str, *, transient: bool = True) -> None:
        """Takes the message.

        Args:
            message: The message, without secrets.
            transient: Whether the destination failed, and not the data.
        """
        super().__init__(message)
        self.transient = transient


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """An error, the one that it was raised for, and so on to the innermost."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        inner = (getattr(current, name, None) for name in WRAPPED)
        current = next((each for each in inner if isinstance(each, BaseException)), None)
