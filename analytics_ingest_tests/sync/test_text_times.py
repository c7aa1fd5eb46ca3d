"""A column of times that has become text, as something else came: parents that changed are still told from others."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from analytics_ingest_tests.conftest import query
from analytics_ingest_tests.trials import API, NAME, NumberedRows, numbered, run, trial

ODD = ("soon", {"at": 1}, True)


def test_children_of_changed_parents_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = replace(API, endpoints=tuple(numbered(name, of) for of in range(len(ODD)) for name in ("things", "parts")))
    now = datetime.now(UTC)
    times = [(now - timedelta(days=9)).isoformat(), (now - timedelta(days=8)).isoformat()]
    things = [[{"id": number, "updated_at": time} for number, time in enumerate((*times, odd))] for odd in ODD]

    def rows(word: str) -> NumberedRows:
        parts = {str(number): [[{"id": 1, "word": word}]] for number in range(3)}
        return NumberedRows(lists=[[each] for each in things], children=[parts] * len(ODD))

    with trial(monkeypatch, FAN_OUT="changed") as upstream:
        upstream.rows = rows("a")
        run(api)
        for each in things:
            each[1]["updated_at"] = (now + timedelta(seconds=1)).isoformat()
        upstream.rows = rows("b")
        asked = len(upstream.server.asked)
        results = run(api)
        assert {result.status for result in results.values()} == {"complete"}
        paths = sorted(each.path for each in upstream.server.asked[asked:] if "/parts/" in each.path)
    for number, odd in enumerate(ODD):
        # the one that changed, and the one without a time
        of = [path for path in paths if path.endswith(f"/{number}")]
        assert of == [f"/things/1/parts/{number}", f"/things/2/parts/{number}"], odd
        found = query(tmp_path, f"SELECT thing_id, word FROM {NAME}.parts_{number} ORDER BY 1")
        assert found == [(0, "a"), (1, "b"), (2, "b")], odd
