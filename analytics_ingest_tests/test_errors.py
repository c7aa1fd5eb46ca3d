"""What a failure means, by the status of its last response."""

from __future__ import annotations

import pytest

from analytics_ingest.errors import FailureKind, ReadError


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (None, FailureKind.NO_STATUS),
        (301, FailureKind.REFUSED),
        (400, FailureKind.REFUSED),
        (403, FailureKind.FORBIDDEN),
        (404, FailureKind.NOT_FOUND),
        (429, FailureKind.RATE_LIMITED),
        (499, FailureKind.REFUSED),
        (500, FailureKind.SERVER_ERROR),
        (599, FailureKind.SERVER_ERROR),
    ],
)
def test_kind_of_a_failure(status: int | None, kind: FailureKind) -> None:
    assert ReadError("reason", status=status).kind is kind
