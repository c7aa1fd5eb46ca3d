"""The text of what a sync has done: a line for each endpoint, and a table of all."""

from __future__ import annotations

from analytics_ingest.apis.registry import APIS
from analytics_ingest.extract.stats import ReadStats
from analytics_ingest.http.meter import Meter
from analytics_ingest.sync.result import EndpointResult
from analytics_ingest.sync.summary import result_line, summarize

ENDPOINTS = APIS["experimentation"].by_name
GATES = EndpointResult(
    endpoint=ENDPOINTS["gates"],
    status="complete",
    stats=ReadStats(rows_loaded=1200, rows_rejected=1, seconds=12.34, meter=Meter(requests=1)),
    rows_before=1000,
    rows_live=1180,
    rows_deleted=20,
)
STATUS = EndpointResult(
    endpoint=ENDPOINTS["ingestion_status"],
    status="failed",
    reason="/v1/ingestion/status answered 500",
    stats=ReadStats(rows_loaded=7, seconds=0.04, meter=Meter(requests=5)),
    rows_before=9,
    rows_live=7,
)
TAGS = EndpointResult(endpoint=ENDPOINTS["tags"], status="skipped", reason="left out by SKIP_ENDPOINTS")


def test_a_line_has_rows_requests_and_seconds() -> None:
    assert result_line(GATES, loads_again=False) == (
        "rows: 200 new, 1,000 changed, 20 deleted, 1 rejected; 1 request, 12.3 seconds"
    )
    assert result_line(GATES, loads_again=True).startswith("rows: 200 new, 1,000 again, 20 deleted, ")


def test_all_rows_of_a_snapshot_that_was_replaced_are_new() -> None:
    assert result_line(STATUS, loads_again=False) == (
        "rows: 7 new, 0 changed, 0 deleted, 0 rejected; 5 requests, 0.0 seconds"
    )


def test_the_table_has_every_endpoint_and_the_sums_and_begins_with_what_failed() -> None:
    text = summarize([GATES, STATUS, TAGS], ["users"], loads_again=False)

    assert text.splitlines() == [
        "1 failed, 1 skipped, 1 complete, 1 not reached",
        "endpoint          status       new  changed  deleted  rejected  requests  seconds",
        "ingestion_status  failed         7        0        0         0         5      0.0",
        "tags              skipped        0        0        0         0         0      0.0",
        "gates             complete     200    1,000       20         1         1     12.3",
        "users             not reached",
        "all                            207    1,000       20         1         6",
    ]
