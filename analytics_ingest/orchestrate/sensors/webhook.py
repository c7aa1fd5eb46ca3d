"""Sends a message to a chat's incoming webhook, whose URL is a secret."""

from __future__ import annotations

import logging
import re
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from analytics_ingest.config.deployment import environment_variable

if TYPE_CHECKING:
    from collections.abc import Iterator

WEBHOOK = environment_variable("webhook_url")
TIMEOUT = 20
"""Seconds to wait for a connection, and for each part of a response."""
TEAMS_ERROR = re.compile(rb"delivery failed with error.*HTTP error ([45][0-9]{2})", re.DOTALL)
"""Teams answers 200 with the status in the body (https://github.com/MicrosoftDocs/msteams-docs/issues/1810)."""


def send(url: str, text: str) -> int:
    """Sends ``{"text": ...}``, which Slack, Mattermost and Teams accept; gives the status code of the response.

    Raises:
        RuntimeError: The webhook cannot be reached. The message does not contain the URL.
    """
    import requests  # noqa: PLC0415 - definitions load without an HTTP client

    try:
        with (
            _path_unlogged(),
            requests.post(url, json={"text": text}, timeout=TIMEOUT, allow_redirects=False, stream=True) as response,
        ):
            if response.status_code == 200:
                # the message has been delivered, also if the body cannot be read
                with suppress(OSError, ValueError):
                    if error := TEAMS_ERROR.search(next(response.iter_content(1_000), b"")):
                        return int(error[1])
            return response.status_code
    except Exception as error:  # noqa: BLE001 - requests lets errors of urllib3 and of codecs through
        # the messages of these errors contain the URL
        raise RuntimeError(f"the webhook ({WEBHOOK}) cannot be reached: {type(error).__name__}") from None


@contextmanager
def _path_unlogged() -> Iterator[None]:
    """Keeps urllib3 from logging the URL's path at debug level; other threads log as usual."""
    thread = threading.get_ident()

    def is_of_another_thread(record: logging.LogRecord) -> bool:
        return record.thread != thread

    logger = logging.getLogger("urllib3.connectionpool")
    logger.addFilter(is_of_another_thread)
    try:
        yield
    finally:
        logger.removeFilter(is_of_another_thread)
