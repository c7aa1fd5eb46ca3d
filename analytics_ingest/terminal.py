"""Consoles that replace the characters a terminal's encoding lacks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Mapping

ASCII_SYMBOLS: Mapping[str, str] = {"✓": "+", "✗": "x", "–": "-", "…": "...", "→": "->"}  # noqa: RUF001 - a dash
"""The commands' symbols on a terminal whose encoding lacks them. Rich draws its boxes in ASCII there by itself."""


def open_console(*, stderr: bool = False, **options: Any) -> Console:
    """A console on standard output or standard error.

    Characters that its encoding lacks are printed as question marks; Python raises ``UnicodeEncodeError`` by default.

    Args:
        stderr: True for standard error.
        **options: Options of ``rich.console.Console``.
    """
    stream = sys.stderr if stderr else sys.stdout
    replace_unknown(stream)
    return Console(stderr=stderr, safe_box=True, **options)


def replace_unknown(stream: TextIO) -> None:
    """Makes a stream write a question mark for each character that its encoding lacks."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure and not _is_unicode(stream):
        reconfigure(errors="replace")


def symbol(character: str, *, stream: TextIO | None = None) -> str:
    """A symbol of ``ASCII_SYMBOLS``, in ASCII if the encoding of standard output lacks it."""
    encoding = getattr(stream or sys.stdout, "encoding", None) or "utf-8"
    try:
        character.encode(encoding)
    except (LookupError, UnicodeError):
        return ASCII_SYMBOLS[character]
    return character


def _is_unicode(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().replace("-", "").startswith("utf")
