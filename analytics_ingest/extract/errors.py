"""What can go wrong while an API is read, in words for the person who must act. No message holds a secret."""

from __future__ import annotations

import json
import traceback
from urllib.parse import quote

SHOWN = 200
"""Characters of a body that an error shows."""
TRACEBACK = 8_000
"""Characters of a traceback that a log shows."""


def excerpt(text: str, *secrets: str) -> str:
    """The first ``SHOWN`` characters of ``text`` on one line, with each secret in it masked."""
    for secret in filter(None, secrets):
        quoted = json.dumps(secret)[1:-1]
        # as it is, and as JSON and URLs escape it
        for form in (secret, quoted, quoted.replace("/", "\\/"), quote(secret, safe=""), quote(secret)):
            text = text.replace(form, "***")
    flat = " ".join(text.split())
    return flat if len(flat) <= SHOWN else flat[:SHOWN] + "…"


def redacted_traceback(error: BaseException, *secrets: str) -> str:
    """The traceback of ``error`` with each secret in it masked, at most ``TRACEBACK`` characters of its end."""
    text = "".join(traceback.format_exception(error))[-TRACEBACK:]
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    return text


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


class ReadError(IngestError):
    """An endpoint, or one parent's part of it, could not be read completely.

    Attributes:
        status: The HTTP status of the last answer; ``None`` without one.
    """

    def __init__(self, reason: str, *, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
