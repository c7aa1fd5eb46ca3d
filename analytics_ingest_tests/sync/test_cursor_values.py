"""Every endpoint with a cursor: rows arrive whatever form their cursor value has, and none holds later ones up."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pytest

from analytics_ingest.apis.registry import APIS
from analytics_ingest.sandbox.world import World
from analytics_ingest.sync.result import EndpointResult
from analytics_ingest_tests.conftest import sandbox_in, sync

WITH_CURSOR = [(api.name, endpoint.name) for api in APIS.values() for endpoint in api.endpoints if endpoint.cursor_path]
USUAL = "incident_response"
"""The API of `make test`: its cursors are within an object, or beside it."""
every_endpoint = pytest.mark.parametrize(
    ("api", "name"),
    [
        pytest.param(api, name, id=f"{api}/{name}", marks=[] if api == USUAL else pytest.mark.extended)
        for api, name in WITH_CURSOR
    ],
)

HIGHEST = datetime(2026, 2, 1, 12, 0, tzinfo=UTC)
"""The highest value of all after the first sync."""
LATER = HIGHEST + timedelta(hours=1)
MISSING = object()
FORMS: dict[str, tuple[Any, datetime | None]] = {
    "highest": ("2026-02-01T12:00:00Z", HIGHEST),
    "equal": ("2026-02-01T12:00:00Z", HIGHEST),
    "within the look-back": ("2026-02-01T11:30:00Z", HIGHEST - timedelta(minutes=30)),
    "long before": ("2020-01-01T00:00:00Z", datetime(2020, 1, 1, tzinfo=UTC)),
    "no fraction": ("2026-02-01T13:00:00Z", LATER),
    "fraction": ("2026-02-01T12:59:59.500Z", LATER - timedelta(milliseconds=500)),
    "offset": ("2026-02-01T06:00:00-07:00", LATER),
    "no offset": ("2026-02-01T13:00:00", LATER),
    "epoch milliseconds": (int(LATER.timestamp() * 1000), LATER),
    "epoch seconds as text": (str(int(LATER.timestamp())), LATER),
    "null": (None, None),
    "missing": (MISSING, None),
    "the year 2099": ("2099-01-01T00:00:00Z", datetime(2099, 1, 1, tzinfo=UTC)),
}
FIRST = ("highest",)
NESTED = [("incident_response", "incidents"), ("incident_response", "dashboards")]


@dataclass
class Passes:
    """A sync of the first rows, one after the others came, one after all names were changed, and the tables' rows."""

    first: dict[str, EndpointResult]
    added: dict[str, EndpointResult]
    edited: dict[str, EndpointResult]
    rows: dict[str, dict[Any, tuple[datetime | None, Any]]]


def key_of(api: str, name: str) -> str:
    (column,) = APIS[api].by_name[name].primary_key
    return column


def rows_of(world: World, api: str, name: str, forms: Iterator[str] | tuple[str, ...]) -> list[dict[str, Any]]:
    """A row for each form, made from the first that the endpoint has or, without any, from nothing."""
    pattern = (world.collection(api, name) or [{"id": "h"}])[0]
    made = []
    for number, form in enumerate(forms):
        row = copy.deepcopy(pattern)
        key = key_of(api, name)
        row[key] = 9_000 + number if isinstance(row[key], int) else f"{form}/row"
        value = FORMS[form][0]
        place = row["attributes"] if (api, name) in NESTED and form != "equal" else row
        row.pop("updated_at", None)
        place.pop("updated_at", None)
        if value is not MISSING:
            place["updated_at"] = value
        row["form"] = form
        made.append(row)
    return made


@pytest.fixture(scope="module")
def passes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Passes]:
    """The passes of an API, made when they are first asked for."""
    return cache(lambda api: make_passes(tmp_path_factory.mktemp("cursors"), api))


def make_passes(folder: Path, api: str) -> Passes:
    names = [name for of, name in WITH_CURSOR if of == api]
    with sandbox_in(folder) as server:
        made = {name: rows_of(server.world, api, name, tuple(FORMS)) for name in names}
        stored = {name: server.world.collection(api, name) for name in names}
        for name, rows in stored.items():
            rows[:] = made[name][:1]
        first = sync(api, *names)
        for name, rows in stored.items():
            rows[:] = made[name]
        added = sync(api, *names)
        for rows in stored.values():
            for row in rows:
                # two endpoints may list the same rows
                row["form"] = f"{row['form'].removesuffix(', edited')}, edited"
        edited = sync(api, *names)
        found = {}
        with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as connection:
            for name in names:
                at = "attributes ->> '$.updated_at'" if (api, name) in NESTED else "NULL"
                selected = f'SELECT form, updated_at, {at} FROM {api}."{name}"'
                found[name] = {row[0]: row[1:] for row in connection.sql(selected).fetchall()}
        return Passes(first, added, edited, found)


@every_endpoint
def test_rows_arrive_whatever_their_cursor_value(passes: Callable[[str], Passes], api: str, name: str) -> None:
    first, added = passes(api).first[name], passes(api).added[name]

    assert (first.table_rows, added.table_rows) == (1, len(FORMS))
    assert first.cursor == HIGHEST
    assert added.stats.rows_loaded == len(FORMS) - 1
    # neither the year 2099 nor a text that sorts higher
    assert added.cursor == LATER


@every_endpoint
def test_edits_arrive_though_no_cursor_moved(passes: Callable[[str], Passes], api: str, name: str) -> None:
    edited = passes(api).edited[name]

    assert edited.stats.rows_loaded == len(FORMS)
    assert (edited.table_rows, edited.cursor, edited.rows_deleted) == (len(FORMS), LATER, 0)


@every_endpoint
def test_every_form_is_the_same_moment_in_utc(passes: Callable[[str], Passes], api: str, name: str) -> None:
    rows = passes(api).rows[name]
    assert set(rows) == {f"{form}, edited" for form in FORMS}
    for form, (_, moment) in FORMS.items():
        plain, nested = rows[f"{form}, edited"]
        if (api, name) in NESTED and form != "equal":
            assert plain is None
            assert (datetime.fromisoformat(nested) if nested else None) == moment, form
        else:
            assert plain == moment, form
