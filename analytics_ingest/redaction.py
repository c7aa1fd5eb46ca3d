"""Masks secrets in text that a database or a library wrote."""

from __future__ import annotations

import base64
import html
import json
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable


class Redactor:
    """Masks secrets, in any form in which they are echoed."""

    def __init__(self, secrets: Iterable[str]) -> None:
        """Prepares the masks.

        Args:
            secrets: Texts that must not be shown. Empty ones are ignored.
        """
        self._forms = {form for secret in secrets if secret for form in _forms(secret)}

    def redact(self, text: str) -> str:
        """``text`` with each secret in it replaced by ``***``."""
        for form in sorted(self._forms, key=len, reverse=True):
            text = re.sub(re.escape(form), "***", text, flags=re.IGNORECASE)
        return text


def _forms(secret: str) -> set[str]:
    encoded = base64.b64encode(secret.encode()).decode().rstrip("=")
    plain = {
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote(secret, safe=" +"),
        quote_plus(secret),
        html.escape(secret),
    }
    return plain | {json.dumps(secret)[1:-1], secret.replace("'", "''"), secret.replace("'", "\\'"), encoded}
