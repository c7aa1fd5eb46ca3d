"""Drift: headers that announce a change, columns that lose all their values, and new fields of an envelope."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from analytics_ingest.sync.result import EndpointResult
from analytics_ingest.warehouse.warehouse import Warehouse
from analytics_ingest_tests.conftest import sync
from analytics_ingest_tests.environment import configure_api
from analytics_ingest_tests.fake_server import KEY, Asked, FakeServer, Response
from analytics_ingest_tests.sync.conftest import Tags

API = "experimentation"
GONE = "no row has a value in name any more"


def synced() -> EndpointResult:
    """The result of a sync of the tags."""
    return sync(API, "tags")["tags"]


def drift(result: EndpointResult) -> list[str]:
    """The signs of drift, as the check has them, without the endpoint and the day in front."""
    (check,) = [each for each in result.checks if each.name == "no_drift"]
    days = {f"{datetime.now(UTC) - timedelta(days=back):%Y-%m-%d}" for back in (0, 1)}
    found = []
    for line in result.drift:
        start, _, text = line.partition(": ")
        assert start in {f"{API}/tags, {day}" for day in days}
        found.append(text)
    assert (check.passed, check.numbers) == (not found, {"signs_of_drift": len(found)})
    assert check.message == ("\n".join(result.drift) or "no sign that the API changes")
    return found


@pytest.fixture
def server(tags_server: FakeServer, tags: Tags) -> FakeServer:
    """The server of the tags, after a first sync without any sign of drift."""
    first = synced()
    assert (first.status, first.table_rows, drift(first)) == ("complete", 40, [])
    return tags_server


def test_headers_that_announce_a_change_are_reported_by_each_sync(
    server: FakeServer, tags: Tags, caplog: pytest.LogCaptureFixture
) -> None:
    tags.headers = {
        "deprecation": "@1767225600",
        "Sunset": "Thu, 31 Dec 2026 23:59:59 GMT",
        "Warning": '299 - "v1 ends soon"',
        "X-Other": "nothing",
    }
    expected = [
        "the response has the header Deprecation: @1767225600",
        "the response has the header Sunset: Thu, 31 Dec 2026 23:59:59 GMT",
        'the response has the header Warning: 299 - "v1 ends soon"',
    ]
    for _ in range(2):
        result = synced()
        assert (result.status, result.stats and result.stats.rows_loaded) == ("complete", 0)
        assert drift(result) == expected
    assert caplog.text.count("the response has the header Sunset") == 2


def test_headers_of_the_first_response_count(server: FakeServer, tags: Tags) -> None:
    tags.then = lambda: setattr(tags, "headers", {"Sunset": "Thu, 31 Dec 2026 23:59:59 GMT"})

    assert drift(synced()) == []


def test_text_of_a_header_is_masked_and_shortened(server: FakeServer, tags: Tags) -> None:
    tags.headers = {"Warning": f"299 - key={KEY} \x1b[31m{'x' * 300}"}
    (found,) = drift(synced())

    assert found.startswith("the response has the header Warning: 299 - key=*** \\x1b[31mxxx")
    assert found.endswith("x…")
    assert len(found) < 260


def test_column_that_loses_all_its_values_is_reported_once(
    server: FakeServer, tags: Tags, caplog: pytest.LogCaptureFixture
) -> None:
    for row in tags.rows:
        row["name"] = None  # type: ignore[assignment]
    result = synced()

    assert (result.stats and result.stats.rows_loaded, drift(result)) == (40, [GONE])
    assert GONE in caplog.text
    assert drift(synced()) == []


def test_column_whose_field_is_gone_is_reported(server: FakeServer, tags: Tags) -> None:
    for row in tags.rows:
        del row["name"]

    assert drift(synced()) == [GONE]


def test_column_with_one_value_left_has_not_drifted(server: FakeServer, tags: Tags) -> None:
    for row in tags.rows[:-1]:
        row["name"] = None  # type: ignore[assignment]

    assert drift(synced()) == []


def test_column_that_never_had_a_value_has_not_drifted(server: FakeServer, tags: Tags) -> None:
    tags.rows[0]["color"] = "red"
    assert drift(synced()) == []
    del tags.rows[0]["color"]
    assert drift(synced()) == ["no row has a value in color any more"]
    assert drift(synced()) == []


def test_empty_list_is_no_evidence(server: FakeServer, tags: Tags) -> None:
    kept, tags.rows = tags.rows, []
    result = synced()
    assert (result.status, drift(result)) == ("complete", [])
    tags.rows = kept
    assert drift(synced()) == []


def test_list_that_was_not_read_to_its_end_is_no_evidence(server: FakeServer, tags: Tags) -> None:
    for row in tags.rows:
        row["name"] = None  # type: ignore[assignment]
    tags.refused = {3}
    failed = synced()
    assert (failed.status, failed.drift) == ("failed", [])
    tags.refused = set()

    assert drift(synced()) == [GONE]


def test_column_that_an_incomplete_list_filled_is_watched(server: FakeServer, tags: Tags) -> None:
    tags.rows[0]["color"] = "red"
    tags.refused = {3}
    assert synced().status == "failed"
    tags.refused = set()
    assert drift(synced()) == []
    del tags.rows[0]["color"]

    assert drift(synced()) == ["no row has a value in color any more"]


def test_excluded_column_has_not_drifted(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    configure_api(monkeypatch, API, exclude_columns="tags.name")

    assert drift(synced()) == []


def test_new_field_of_an_envelope_is_reported_once(server: FakeServer, tags: Tags) -> None:
    tags.envelope = {"nextCursor": None, f"n{KEY}": 1}
    result = synced()

    assert result.stats
    assert (result.status, result.stats.rows_loaded) == ("complete", 0)
    assert drift(result) == [f"the envelope has the new field {name}" for name in ("nextCursor", "n***")]
    assert drift(synced()) == []
    # a field that comes back is known
    tags.envelope = {}
    assert drift(synced()) == []
    tags.envelope = {"nextCursor": "c1"}
    assert drift(synced()) == []


def test_object_with_a_field_for_each_row_is_not_remembered(server: FakeServer, tags: Tags) -> None:
    tags.envelope = {f"field_{number}": number for number in range(200)}

    assert drift(synced()) == []


def test_record_without_an_envelope_has_no_field_of_it(
    fake_server: Callable[..., FakeServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    row: dict[str, Any] = {"analytics_id": "a1", "name": "one"}
    server = fake_server(lambda _asked: Response(body=row))
    configure_api(monkeypatch, "continuous_integration", base_url=server.url, api_key=KEY)
    results = [sync("continuous_integration", "me")["me"]]
    row["brand_new"] = True
    results.append(sync("continuous_integration", "me")["me"])

    assert [(each.status, each.drift) for each in results] == [("complete", []), ("complete", [])]


def test_children_of_changed_parents_alone_are_no_evidence(
    fake_server: Callable[..., FakeServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One gate of two has changed since, and the rules that came have lost their names."""
    gates = [{"id": name, "updated_at": "2026-01-01T00:00:00Z"} for name in ("g1", "g2")]
    names: dict[str, str | None] = {"g1": "rule", "g2": "rule"}

    def reply(asked: Asked) -> Response:
        if asked.path.endswith("/gates"):
            return Response(body={"data": gates if asked.query["page"] == "1" else []})
        gate = asked.path.split("/")[-2]
        return Response(body={"data": {"rules": [{"id": "r1", "name": names[gate]}]}})

    server = fake_server(reply)
    configure_api(monkeypatch, API, base_url=server.url, api_key=KEY, fan_out="changed")
    assert {each.status for each in sync(API, "gates", "gates_rules").values()} == {"complete"}
    gates[0]["updated_at"] = "2026-01-02T00:00:00Z"
    names["g1"] = None
    result = sync(API, "gates", "gates_rules")["gates_rules"]

    assert result.stats
    assert (result.status, result.stats.parents, result.stats.rows_loaded, result.drift) == ("complete", 1, 1, [])


def test_sync_without_changes_writes_no_state(server: FakeServer, tags: Tags, monkeypatch: pytest.MonkeyPatch) -> None:
    tags.headers = {"Sunset": "Thu, 31 Dec 2026 23:59:59 GMT"}
    opened: list[str] = []
    enter = Warehouse.open

    def noted(self: Warehouse) -> Any:
        opened.append(self.api)
        return enter(self)

    monkeypatch.setattr(Warehouse, "open", noted)
    result = synced()

    # to read the tables, and to write the ledger
    assert opened == [API, API]
    assert len(drift(result)) == 1
