"""Statsig's lists by the day: values of metrics, the status of the ingestion, the audit log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from analytics_ingest_tests.conftest import query
from analytics_ingest_tests.fake_server import Response
from analytics_ingest_tests.vendors.conftest import Synced, first_sync
from analytics_ingest_tests.vendors.statsig import Statsig
from analytics_ingest_tests.vendors.statsig_rows import entry, status, value

VALUES = "SELECT date, count(*), count(_deleted_at) FROM experimentation.metrics_values GROUP BY 1 ORDER BY 1 DESC"
LOG_IN_UTC = "SELECT id, epoch_ms(logged_at), typeof(logged_at) FROM experimentation.audit_logs"


first = first_sync(Statsig, "metrics_values", "ingestion_status", "audit_logs")


@pytest.fixture
def statsig(synced: Synced[Statsig]) -> Statsig:
    """The server after a first sync of what is read by the day."""
    return synced.vendor


def day(statsig: Statsig, back: int = 0) -> str:
    return str(statsig.today - timedelta(days=back))


def queries(statsig: Statsig, path: str) -> list[dict[str, str]]:
    return [asked.query for asked in statsig.asked if asked.path == f"/console/v1{path}"]


def days_asked(statsig: Statsig) -> list[str]:
    """The days that values were asked for since the last time, the newest first."""
    found = {each["date"] for each in queries(statsig, "/metrics/values")}
    statsig.asked.clear()
    return sorted(found, reverse=True)


def days(statsig: Statsig, count: int) -> list[str]:
    return [day(statsig, back) for back in range(count)]


def test_values_are_read_day_by_day_and_keyed_by_the_day_too(synced: Synced[Statsig], tmp_path: Path) -> None:
    statsig, result = synced.vendor, synced.results["metrics_values"]
    asked = Counter(tuple(sorted(each.items())) for each in queries(statsig, "/metrics/values"))
    expected = [
        (("date", each), ("limit", "20"), ("page", page)) for each in days(statsig, 7) for page in ("1", "2", "3")
    ]
    assert asked == Counter(expected)
    assert query(tmp_path, VALUES) == [(each, 45, 0) for each in days(statsig, 7)]
    assert result.endpoint.primary_key == ("date", "metric_name", "metric_type", "unit_type")
    found = query(
        tmp_path,
        "SELECT date, metric_name, metric_type, unit_type, numerator FROM experimentation.metrics_values "
        "WHERE numerator IN (3, 4, 5) ORDER BY date DESC, numerator",
    )
    assert found == [
        (each, "metric 1", *rest)
        for each in days(statsig, 7)
        for rest in (("sum", "userID", 3), ("sum", "stableID", 4), ("count", "userID", 5))
    ]


def test_a_value_that_is_corrected_or_goes_within_the_window_is_noticed(statsig: Statsig, tmp_path: Path) -> None:
    values = statsig.rows("metrics_values", day(statsig, 6))
    values[0]["numerator"] = 99
    del values[1]
    result = statsig.sync("metrics_values")["metrics_values"]

    assert (result.stats.rows_loaded, result.rows_deleted) == (1, 1)
    found = query(tmp_path, "SELECT date, numerator FROM experimentation.metrics_values WHERE _deleted_at IS NOT NULL")
    assert found == [(day(statsig, 6), 1)]


def test_values_of_days_that_left_the_window_stay(
    statsig: Statsig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for back in (3, 4, 5, 6):
        statsig.rows("metrics_values", day(statsig, back)).clear()
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__WINDOW_DAYS", "3")
    assert days_asked(statsig) == days(statsig, 7)
    result = statsig.sync("metrics_values")["metrics_values"]

    assert days_asked(statsig) == days(statsig, 3)
    assert (result.status, result.stats.rows_loaded, result.rows_deleted) == ("complete", 0, 0)
    assert query(tmp_path, VALUES) == [(each, 45, 0) for each in days(statsig, 7)]


def test_the_first_sync_reaches_back_to_the_start_date_and_so_does_a_full_refresh(
    vendor_server: Callable[..., Statsig], tmp_path: Path
) -> None:
    statsig = vendor_server(Statsig())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCES__EXPERIMENTATION__START_DATE", day(statsig, 19))
        statsig.rows("metrics_values", day(statsig, 19)).append(value(0))
        statsig.rows("metrics_values", day(statsig, 20)).append(value(0))

        statsig.sync("metrics_values")
        assert days_asked(statsig) == days(statsig, 20)
        statsig.sync("metrics_values")
        assert days_asked(statsig) == days(statsig, 7)
        result = statsig.sync("metrics_values", full_refresh=True)["metrics_values"]
        assert days_asked(statsig) == days(statsig, 20)

    assert (result.stats.rows_loaded, result.rows_deleted) == (7 * 45 + 1, 0)
    assert query(tmp_path, VALUES) == [*((each, 45, 0) for each in days(statsig, 7)), (day(statsig, 19), 1, 0)]


def test_a_first_sync_that_lost_a_day_reaches_back_again(vendor_server: Callable[..., Statsig], tmp_path: Path) -> None:
    statsig = vendor_server(Statsig())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCES__EXPERIMENTATION__START_DATE", day(statsig, 9))
        patch.setenv("SOURCES__EXPERIMENTATION__MAX_IN_FLIGHT", "1")
        statsig.rows("metrics_values", day(statsig, 9)).append(value(0))
        # the earliest day is the first that is asked for
        statsig.faults["metrics_values"] = [statsig.error(400)]
        first = statsig.sync("metrics_values")["metrics_values"]
        assert (first.status, len(first.stats.failures)) == ("failed", 1)
        assert first.stats.failures[0].path == f"/metrics/values?date={day(statsig, 9)}"
        days_asked(statsig)

        second = statsig.sync("metrics_values")["metrics_values"]
    assert days_asked(statsig)[-1] == day(statsig, 9)
    assert second.status == "complete"
    assert query(tmp_path, VALUES)[-1] == (day(statsig, 9), 1, 0)


@pytest.mark.extended
def test_a_window_before_the_first_sync_does_not_stand_for_it(vendor_server: Callable[..., Statsig]) -> None:
    statsig = vendor_server(Statsig())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCES__EXPERIMENTATION__START_DATE", day(statsig, 9))
        statsig.sync("metrics_values", updated_from=day(statsig, 1), updated_to=day(statsig, 1))
        assert days_asked(statsig) == [day(statsig, 1)]

        statsig.sync("metrics_values")
    assert days_asked(statsig) == days(statsig, 10)


def test_a_runs_window_reads_exactly_its_days(statsig: Statsig, tmp_path: Path) -> None:
    days_asked(statsig)
    for back in (29, 30, 31, 32):
        statsig.rows("metrics_values", day(statsig, back)).append(value(0))
    statsig.rows("metrics_values", day(statsig)).clear()
    window = {"updated_from": day(statsig, 31), "updated_to": day(statsig, 30)}
    result = statsig.sync("metrics_values", **window)["metrics_values"]

    assert days_asked(statsig) == [day(statsig, 30), day(statsig, 31)]
    assert (result.status, result.stats.rows_loaded, result.rows_deleted) == ("complete", 2, 0)
    recent = [(each, 45, 0) for each in days(statsig, 7)]
    assert query(tmp_path, VALUES) == [*recent, (day(statsig, 30), 1, 0), (day(statsig, 31), 1, 0)]


@pytest.mark.parametrize(
    ("settings", "back"),
    [
        pytest.param({}, 6, marks=pytest.mark.extended),
        ({"WINDOW_DAYS": "3"}, 2),
        pytest.param({"WINDOW_DAYS": "1"}, 0, marks=pytest.mark.extended),
    ],
)
def test_the_status_of_the_ingestion_is_asked_for_by_days(
    vendor_server: Callable[..., Statsig], tmp_path: Path, settings: dict[str, str], back: int
) -> None:
    statsig = vendor_server(Statsig(), **settings)
    statsig.sync("ingestion_status")

    assert queries(statsig, "/ingestion/status") == [{"startDate": day(statsig, back), "endDate": day(statsig)}]
    found = query(
        tmp_path,
        "SELECT strftime(ds AT TIME ZONE 'UTC', '%Y-%m-%d'), count(*), count(timestamp), any_value(typeof(ds)), "
        "any_value(typeof(timestamp)) FROM experimentation.ingestion_status GROUP BY 1 ORDER BY 1 DESC",
    )
    kind = "TIMESTAMP WITH TIME ZONE"
    assert found == [(each, 2, 2, kind, kind) for each in days(statsig, back + 1)]


def test_the_status_of_the_ingestion_is_read_from_an_array_and_from_an_envelope(
    synced: Synced[Statsig], tmp_path: Path
) -> None:
    statsig, in_array = synced.vendor, synced.results["ingestion_status"]
    assert in_array.table_rows == 14

    today = datetime.now(UTC).date()
    in_envelope = Response(body={"message": "", "data": [status(today, n) for n in range(3)]})
    statsig.faults["ingestion_status"] = [in_envelope, in_envelope]
    # three of fourteen are a collapse, which the next sync has to find as well
    found_first = statsig.sync("ingestion_status")["ingestion_status"]
    assert (found_first.status, found_first.table_rows) == ("complete", 14)
    result = statsig.sync("ingestion_status")["ingestion_status"]
    assert (result.status, result.table_rows) == ("complete", 3)
    found = query(tmp_path, "SELECT message FROM experimentation.ingestion_status ORDER BY 1")
    assert found == [("message 0",), ("message 1",), ("message 2",)]


def test_a_status_without_data_is_a_failure_and_no_row(statsig: Statsig) -> None:
    bodies: list[dict[str, Any]] = [{"message": "no data"}, {"rows": [{"status": "ERROR"}]}, {}, {"data": None}]
    # a body that passed would leave those after it
    statsig.faults["ingestion_status"] = [Response(body=body) for body in bodies]
    result = statsig.sync("ingestion_status")["ingestion_status"]

    assert (result.status, result.table_rows, statsig.faults["ingestion_status"]) == ("failed", 14, [])
    assert "'data' in the body holds NoneType, not records" in result.reason


def test_date_and_time_in_words_become_one_timestamp(vendor_server: Callable[..., Statsig], tmp_path: Path) -> None:
    statsig = vendor_server(Statsig())
    words = [
        ("Mon Sep 26 2022", "23:46:14 GMT+0000 (Coordinated Universal Time)"),
        ("Mon Sep 26 2022", "16:46:15 GMT-0700 (Pacific Daylight Time)"),
        ("Tue Sep 27 2022", "05:16:16 GMT+0530"),
        ("some day", "in words"),
    ]
    given = [{**entry(n), "date": date, "time": time} for n, (date, time) in enumerate(words)]
    statsig.faults["audit_logs"] = [Response(body={"data": given, "pagination": {"nextPage": None}})]
    result = statsig.sync("audit_logs")["audit_logs"]

    moment = int(datetime(2022, 9, 26, 23, 46, 14, tzinfo=UTC).timestamp() * 1000)
    kind = "TIMESTAMP WITH TIME ZONE"
    assert query(tmp_path, f"{LOG_IN_UTC} ORDER BY id") == [
        ("entry-0", moment, kind),
        ("entry-1", moment + 1000, kind),
        ("entry-2", moment + 2000, kind),
        ("entry-3", None, kind),
    ]
    assert result.cursor == datetime(2022, 9, 26, 23, 46, 16, tzinfo=UTC)


def test_the_log_is_asked_for_from_a_day_before_the_look_back_and_keeps_what_is_older(
    synced: Synced[Statsig], tmp_path: Path
) -> None:
    statsig, first = synced.vendor, synced.results["audit_logs"]
    assert queries(statsig, "/audit_logs") == [{"page": "1", "limit": "100"}, {"page": "2", "limit": "100"}]
    assert first.cursor == datetime(2026, 9, 18, 0, 30, tzinfo=UTC)

    statsig.asked.clear()
    # one is gone from the log, one is changed where it is not asked for, one is new
    log = statsig.rows("audit_logs")
    log.append(entry(130))
    log[1]["changeLog"] = "rewritten"
    del log[0]
    result = statsig.sync("audit_logs")["audit_logs"]

    # an hour before 00:30 is another day, and the day before that is asked for
    assert queries(statsig, "/audit_logs") == [{"page": "1", "limit": "100", "startDate": "2026-09-16"}]
    assert (result.status, result.stats.rows_loaded, result.rows_deleted) == ("complete", 1, 0)
    assert (result.rows_live, result.cursor) == (131, datetime(2026, 9, 18, 3, 30, tzinfo=UTC))
    found = query(tmp_path, "SELECT id FROM experimentation.audit_logs WHERE id IN ('entry-0', 'entry-130') ORDER BY 1")
    assert found == [("entry-0",), ("entry-130",)]
