"""What can go wrong while an API is read, in words for the person who must act. No message holds a secret."""

from __future__ import annotations

import traceback
from enum import Enum, auto

from analytics_ingest.redaction import Redactor

EXCERPT_LENGTH = 200
"""Characters of a body that an error shows."""
SCANNED = 20_000
"""Characters of a body that are looked at for these; spaces and what is masked do not count."""
TRACEBACK = 8_000
"""Characters of a traceback that a log shows."""


def excerpt(text: str, *secrets: str, redactor: Redactor | None = None) -> str:
    """The first ``EXCERPT_LENGTH`` characters of foreign text on one line, with each secret in it masked.

    Args:
        text: What an upstream or a library wrote.
        secrets: Texts that must not be shown.
        redactor: Masks these instead, where one is at hand.
    """
    flat = " ".join((redactor or Redactor(secrets)).redact(text[:SCANNED]).split())
    return flat if len(flat) <= EXCERPT_LENGTH else flat[:EXCERPT_LENGTH] + "…"


def printable(text: str) -> str:
    """``text`` with control characters and others that do not print as escapes."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def redacted_traceback(error: BaseException, redactor: Redactor) -> str:
    """The traceback of ``error`` with each secret in it masked, at most ``TRACEBACK`` characters of its end."""
    return redactor.redact("".join(traceback.format_exception(error)))[-TRACEBACK:]


def root_cause(error: BaseException) -> BaseException:
    """The error that ``error`` was raised from in the end."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


class IngestError(Exception):
    """Base of every error that is meant to be read by a user: its text says what happened and what to do."""


class ConfigurationError(IngestError):
    """A setting is missing or not valid. The message names it as an environment variable."""


class NotConfiguredError(ConfigurationError):
    """The API has no base URL or no key, so it cannot be read."""


class AuthenticationError(IngestError):
    """The API refused the key (401). Nothing else is asked of it in this sync."""


class MissingParentError(IngestError):
    """A child is asked for, and the table of its parent is not there yet."""


class FailureKind(Enum):
    """What a failed request means, by the status of its last response (RFC 9110, section 15)."""

    FORBIDDEN = auto()
    """403: the key may not read this."""
    NOT_FOUND = auto()
    """404: it is not there, or not defined."""
    RATE_LIMITED = auto()
    """429."""
    SERVER_ERROR = auto()
    """500 and above."""
    REFUSED = auto()
    """Any other status, a redirect among them."""
    NO_STATUS = auto()
    """No response, or one whose content is wrong."""

    @classmethod
    def of(cls, status: int | None) -> FailureKind:
        """The kind of a failure with ``status``."""
        if status is None:
            return cls.NO_STATUS
        if status >= 500:
            return cls.SERVER_ERROR
        return {403: cls.FORBIDDEN, 404: cls.NOT_FOUND, 429: cls.RATE_LIMITED}.get(status, cls.REFUSED)


class ReadError(IngestError):
    """An endpoint, or one parent's part of it, could not be read completely.

    Attributes:
        status: The HTTP status of the last response; ``None`` without one.
        kind: What the failure means.
    """

    def __init__(self, reason: str, *, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.kind = FailureKind.of(status)


class FinalReadError(ReadError):
    """A failure that no retry mends. The text names the setting that does."""
