"""Times in the forms in which APIs send them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from analytics_ingest.timestamps import to_utc

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
EXACT = NOON.replace(microsecond=123_456)
SECONDS = 1_768_478_400


@pytest.mark.parametrize(
    ("sent", "moment"),
    [
        ("20260115120000", NOON),
        (20260115120000, NOON),
        (20260115120000.0, NOON),
        (" 20260115120000 ", NOON),
        (SECONDS, NOON),
        (str(SECONDS), NOON),
        (SECONDS * 10**3, NOON),
        (SECONDS * 10**3 + 123, NOON.replace(microsecond=123_000)),
        (SECONDS * 10**6 + 123_456, EXACT),
        (str(SECONDS * 10**6 + 123_456), EXACT),
        (SECONDS * 10**9 + 123_456_789, EXACT),
        (str(SECONDS * 10**9 + 123_456_789), EXACT),
        (f"{SECONDS}.123456", EXACT),
        ("2026-01-15T12:00:00,123456Z", EXACT),
        ("2026-01-15T12:00:00,123456789+00:00", EXACT),
        ("2026-01-15T12:00:00.1234567890123Z", EXACT),
        ("2026-01-15T12:00:00.1Z", NOON.replace(microsecond=100_000)),
        ("2026-01-15t12:00:00z", NOON),
        ("2026-01-15 12:00:00z", NOON),
        ("2026-01-15 12:00:00 +0000", NOON),
        ("2026-01-15T14:00:00+0200", NOON),
        ("2026-01-15T14:00:00+02", NOON),
        ("20260115T120000Z", NOON),
        ("2026-01-14T24:00:00Z", NOON.replace(hour=0)),
        ("2026-01-14T24:00:00.000", NOON.replace(hour=0)),
        ("2025-12-31T24:00Z", datetime(2026, 1, 1, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2016-12-31T23:59:60.5Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("2017-01-01T00:59:60+01:00", datetime(2017, 1, 1, tzinfo=UTC)),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (-1, datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_time_in_any_form_is_that_time(sent, moment):
    assert to_utc(sent) == moment
    assert to_utc(sent).tzinfo is UTC


@pytest.mark.parametrize(
    "sent",
    [
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "9999-12-31T24:00:00Z",
        "9999-12-31T23:59:60Z",
        "2026-01-15T24:00:01Z",
        "2026-01-15T25:00:00Z",
        "2026-01-15T12:61:00Z",
        "2026-02-30T12:00:00,5Z",
        "20260230120000",
        20260230120000,
        "2026-01-15T12:00:00+99:99",
        10**40,
        pytest.param(10**5000, id="5000 digits"),
        -(10**40),
        2**63,
        float("nan"),
        float("-inf"),
        "9" * 19,
        "9" * 400,
        "\u0662\u0660\u0662\u0666\u0660\u0661\u0661\u0665\u0661\u0662\u0660\u0660\u0660\u0660",
    ],
)
def test_what_is_no_time_stays_as_it_was_sent(sent):
    assert to_utc(sent) is sent
