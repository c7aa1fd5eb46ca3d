"""The text of a message about failed runs: bounded in size, with foreign text escaped."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_BYTES = 8_000
"""Bytes of a message as sent: Teams accepts 28 kB and Mattermost 16,383 characters, and a chat should stay readable."""
MAX_RUN_BYTES = 1_000
"""Bytes of a run in a message; the link leads to the complete reason."""
MAX_NAMES = 10
"""APIs or endpoints of a run that a message names."""


@dataclass(frozen=True, kw_only=True)
class FailedRun:
    """A run that failed.

    Attributes:
        run_id: Its id.
        job: The job's name.
        apis: The APIs that it should have synced.
        endpoints: The assets that it should have materialised and did not, as ``<api>/<endpoint>``.
        reason: The failure's description, as the op reported it.
    """

    run_id: str
    job: str
    apis: Sequence[str]
    endpoints: Sequence[str]
    reason: str


def message(
    failed: Sequence[FailedRun], total: int | None = None, *, ui_url: str = "", max_bytes: int = MAX_BYTES
) -> str:
    """One message about all runs, in the order in which they failed: API, endpoints, reason and link.

    A reason contains text of an upstream, and a name can come from another code location: both are escaped, and the
    reason is in a code fence that it cannot close.

    Args:
        failed: The runs, newest first.
        total: How many runs failed, if more than those.
        ui_url: URL of the Dagster UI, for links to the runs; without it the message has their ids.
        max_bytes: Bytes of the message as sent. The earliest runs that do not fit are left out; the message has their
            number.
    """
    total = max(total or 0, len(failed))
    title = f"{total} {'run' if total == 1 else 'runs'} of analytics_ingest failed"
    room = max_bytes - _size(title) - 100
    shown: list[str] = []
    for run in failed:
        part = _part(run, ui_url=ui_url, max_bytes=MAX_RUN_BYTES if shown else min(MAX_RUN_BYTES, room))
        if shown and _size(part) > room:
            break
        shown.append(part)
        # with the blank line before it
        room -= _size(part) + 2
    earlier = total - len(shown)
    left_out = [f"the {earlier} earlier ones are not shown: see the runs in the Dagster UI"] if earlier else []
    return "\n\n".join([title, *left_out, *reversed(shown)])


def log_message(failed: Sequence[FailedRun], total: int, *, ui_url: str = "") -> str:
    """The message for the log, which has room for each of the runs."""
    return message(failed, total, ui_url=ui_url, max_bytes=(len(failed) + 1) * MAX_RUN_BYTES)


def escaped(text: str) -> str:
    """Foreign text for a code fence in a chat, without mentions, links, markup and ends of the fence.

    Slack decodes the three entities for ``&``, ``<`` and ``>``
    (https://api.slack.com/reference/surfaces/formatting).
    """
    # characters that do not print are terminal codes, changes of the direction of text, and lone surrogates
    text = "".join(character if character.isprintable() or character == "\n" else " " for character in text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("`", "'")
    # a zero-width space breaks mentions, and links where fences have no effect (Teams' cards)
    return text.replace("@", "@\u200b").replace("](", "]\u200b(")


def _part(run: FailedRun, *, ui_url: str, max_bytes: int) -> str:
    link = f"{ui_url}/runs/{run.run_id}" if ui_url else f"run {run.run_id}"
    room = max_bytes - _size(link) - 60
    title = _fit(_names(run.apis) or run.job, room // 8)
    missing = _fit(_names(run.endpoints) or "none", room * 3 // 8)
    reason = _fit(run.reason, room - _size(title) - _size(missing))
    return f"{title}: not materialised: {missing}\n```\n{reason}\n```\n{link}"


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more


def _fit(text: str, max_bytes: int) -> str:
    """``text`` escaped, and cut to so many bytes as sent: a character takes up to twelve."""
    shown, length = escaped(text), len(text)
    while length and (size := _size(shown)) > max_bytes:
        length = max(0, min(length - 1, length * max_bytes // size))
        shown = f"{escaped(text[:length])} ..."
    return shown


def _size(text: str) -> int:
    """Bytes of ``text`` as sent, in JSON."""
    return len(json.dumps(text))
