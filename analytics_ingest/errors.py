"""The errors of reading an API, and functions that shorten and mask foreign text for them.

An error's text is for the user who must act. None holds a secret.
"""

from __future__ import annotations

import traceback
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analytics_ingest.redaction import Redactor

EXCERPT_LENGTH = 200
"""Characters of a body that an error shows."""
SCANNED_LENGTH = 20_000
"""Characters of a body that an excerpt is made from: more than it shows, as masking and joining lines shorten them."""
TRACEBACK_LENGTH = 8_000
"""Characters of a traceback that the log shows."""


def excerpt(text: str, *, redactor: Redactor | None = None) -> str:
    """The first ``EXCERPT_LENGTH`` characters of foreign text on one line.

    Args:
        text: A text that an upstream or a library wrote.
        redactor: Masks the secrets in it.
    """
    scanned = text[:SCANNED_LENGTH]
    flat = " ".join((redactor.redact(scanned) if redactor else scanned).split())
    return flat if len(flat) <= EXCERPT_LENGTH else flat[:EXCERPT_LENGTH] + "…"


def printable(text: str) -> str:
    """``text`` with escapes in place of control characters and others that do not print."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def redacted_traceback(error: BaseException, redactor: Redactor) -> str:
    """The traceback of ``error`` with each secret in it masked, the last ``TRACEBACK_LENGTH`` characters."""
    return redactor.redact("".join(traceback.format_exception(error)))[-TRACEBACK_LENGTH:]


def root_cause(error: BaseException) -> BaseException:
    """The first error in the chain of causes of ``error``."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


class IngestError(Exception):
    """Base of the errors whose text is for the user: what failed, and what to do."""


class ConfigurationError(IngestError):
    """A setting is missing or invalid. The text names it as an environment variable."""


class SecretFileError(ConfigurationError):
    """A file that is to hold a secret cannot be used, or the secret is set a second time."""


class UnknownAccountError(ConfigurationError):
    """A name is neither that of an API in the graph nor that of another account."""


class NotConfiguredError(ConfigurationError):
    """The API has no base URL or no key."""


class AuthenticationError(IngestError):
    """The API refused the key (401). The sync sends it no further request."""


class MissingParentError(IngestError):
    """The table of a child's parent does not exist yet."""


class FailureKind(Enum):
    """The kind of a failed request, by the status of its last response (RFC 9110, section 15)."""

    FORBIDDEN = auto()
    """403: the key may not read this."""
    NOT_FOUND = auto()
    """404: it does not exist, or is not defined."""
    RATE_LIMITED = auto()
    """429: too many requests."""
    SERVER_ERROR = auto()
    """500 and above."""
    REFUSED = auto()
    """Any other status, a redirect among them."""
    NO_STATUS = auto()
    """No response, or a response whose content is wrong."""

    @classmethod
    def from_status(cls, status: int | None) -> FailureKind:
        """The kind of a failure with ``status``."""
        if status is None:
            return cls.NO_STATUS
        if status >= 500:
            return cls.SERVER_ERROR
        return {403: cls.FORBIDDEN, 404: cls.NOT_FOUND, 429: cls.RATE_LIMITED}.get(status, cls.REFUSED)


class ReadError(IngestError):
    """A list could not be read completely.

    Attributes:
        status: The HTTP status of the last response; ``None`` without one.
        kind: The kind of the failure, by the status.
    """

    def __init__(self, reason: str, *, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.kind = FailureKind.from_status(status)


class RetriableError(ReadError):
    """A failure that another attempt may not meet.

    Attributes:
        retry_after: Seconds to wait that the server requested; 0 if it did not.
    """

    def __init__(self, reason: str, *, status: int | None = None, retry_after: float = 0.0) -> None:
        super().__init__(reason, status=status)
        self.retry_after = retry_after


class LimitReachedError(ReadError):
    """The API's limit on requests is reset later than ``MAX_WAIT`` allows, so that other requests fail as well.

    Attributes:
        retry_after: Seconds until then.
    """

    def __init__(self, reason: str, *, retry_after: float) -> None:
        super().__init__(reason, status=429)
        self.retry_after = retry_after


class FinalReadError(ReadError):
    """A failure that no retry mends. The text names the setting that does."""


class OversizedResponseError(FinalReadError):
    """A response larger than ``MAX_ANSWER_BYTES``."""
