"""An API that echoes the key in its rows: the tables have what was sent, and nothing else does."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg
import pytest

from analytics_ingest.apis import registry
from analytics_ingest.config.schedule import ScheduleSettings
from analytics_ingest.orchestrate.account_assets import AccountAssets
from analytics_ingest.orchestrate.assets import build_assets
from analytics_ingest_tests.conftest import query
from analytics_ingest_tests.trials import API, KEY, NAME, Rows, trial


@pytest.mark.extended
def test_nothing_in_the_instance_holds_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crons = {"cron": API.cron, "full_refresh_cron": API.full_refresh_cron}
    assets = build_assets(AccountAssets(api=API), ScheduleSettings.model_validate(crons))
    rows = [
        {"id": 1, "share": 3, "name": "x"},
        {"id": "1", "share": 0.375, "name": KEY},
        {"id": KEY, "share": KEY, KEY: KEY, "list": [{KEY: KEY}]},
        {"id": [KEY]},
    ]
    monkeypatch.setattr(registry, "APIS", {NAME: API})
    monkeypatch.setenv("SOURCES__TRIALS__SAMPLE_ROWS", "5")
    with trial(monkeypatch) as upstream, dg.DagsterInstance.get() as instance:
        for sent, ends_well in ((rows[:1], True), (rows, True), (rows, True), (rows[3:], False)):
            upstream.rows = Rows(things=[sent], states=[sent], parts={"1": [sent]})
            run = dg.materialize([assets], instance=instance, raise_on_error=False)
            assert run.success is ends_well
    # the key came, and is where it belongs
    assert (KEY, KEY) in query(tmp_path, f"SELECT id, share FROM {NAME}.things")
    assert any(KEY in json.dumps(row) for row in query(tmp_path, f"SELECT row FROM {NAME}._rejected_rows"))
    holding = [
        path.relative_to(tmp_path)
        for path in sorted((tmp_path / "dagster_home").rglob("*"))
        if path.is_file() and KEY.encode() in path.read_bytes()
    ]
    assert holding == []
