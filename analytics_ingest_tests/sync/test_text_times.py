"""A column of times that has become text, as something else came: parents that changed are still told from others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from analytics_ingest_tests.conftest import query
from analytics_ingest_tests.trials import NAME, Rows, trial

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("odd", ["soon", {"at": 1}, True])
def test_children_of_changed_parents_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: object) -> None:
    now = datetime.now(UTC)
    times = [(now - timedelta(days=9)).isoformat(), (now - timedelta(days=8)).isoformat(), odd]
    things = [{"id": number, "updated_at": time} for number, time in enumerate(times)]

    def parts(word: str) -> dict[str, list[list[dict[str, object]]]]:
        return {str(number): [[{"id": 1, "word": word}]] for number in range(3)}

    with trial(monkeypatch, FAN_OUT="changed") as upstream:
        upstream.rows = Rows(things=[things], parts=parts("a"))
        upstream.sync()
        things[1]["updated_at"] = (now + timedelta(seconds=1)).isoformat()
        upstream.rows = Rows(things=[things], parts=parts("b"))
        asked = len(upstream.server.asked)
        results = upstream.sync()
        assert {result.status for result in results.values()} == {"complete"}
        paths = sorted(each.path for each in upstream.server.asked[asked:] if each.path.endswith("/parts"))
    # the one that changed, and the one without a time
    assert paths == ["/things/1/parts", "/things/2/parts"]
    found = query(tmp_path, f"SELECT thing_id, word FROM {NAME}.parts ORDER BY 1")
    assert found == [(0, "a"), (1, "b"), (2, "b")]
