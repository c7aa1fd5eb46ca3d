"""What holds for every endpoint, the day it is declared: exact rows, keys, columns and counts.

Each check takes the passes over one API and the name of an endpoint. The test modules run all of them over every
endpoint: of the sandbox, and of the vendors' servers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from analytics_ingest.apis.model import Api
from analytics_ingest.extract.column_names import DELETED_AT, ROW_HASH, column_name
from analytics_ingest.sync.result import EndpointResult
from analytics_ingest_tests.conftest import sync
from analytics_ingest_tests.stores import Store, Table

Rows = list[dict[str, Any]]


@dataclass
class Pass:
    """One sync of an API: its results, what the server counted, the tables after it, and the truth."""

    results: Mapping[str, EndpointResult]
    requests: Mapping[str, int]
    tables: Mapping[str, Table]
    truth: Mapping[str, Rows]


@dataclass
class Passes:
    """A first sync of an API, one without changes upstream, and one after changes."""

    api: Api
    first: Pass
    unchanged: Pass
    later: Pass

    @property
    def each(self) -> tuple[Pass, Pass, Pass]:
        return self.first, self.unchanged, self.later


def one_pass(
    api: Api, store: Store, *, requests: Callable[[str], int], truth: Callable[[str], Rows], reset: Callable[[], None]
) -> Pass:
    """Syncs an API, and takes note of what there is to know."""
    reset()
    results = sync(api.name)
    counted = {name: requests(name) for name in api.by_name}
    tables = store.tables(api.name, api.by_name)
    return Pass(results, counted, tables, {name: as_columns(truth(name)) for name in api.by_name})


def as_columns(rows: Rows) -> Rows:
    return [{column_name(name): value for name, value in row.items()} for row in rows]


def live(table: Table) -> Rows:
    columns, rows = table
    named = [dict(zip(columns, row, strict=True)) for row in rows]
    return [row for row in named if row.get(DELETED_AT) is None]


def keyed(passes: Passes, name: str, rows: Rows) -> list[tuple[Any, ...]]:
    return [tuple(row[part] for part in passes.api.by_name[name].primary_key) for row in rows]


def dated(value: Any) -> bool:
    return isinstance(value, str) and value[:4].isdigit() and "T" in value


def table_holds_exactly_the_rows_upstream(passes: Passes, name: str) -> None:
    for done in passes.each:
        assert Counter(keyed(passes, name, live(done.tables[name]))) == Counter(keyed(passes, name, done.truth[name]))


def plain_fields_arrive_as_they_were_sent(passes: Passes, name: str) -> None:
    def plain(rows: Rows, fields: set[str]) -> Counter[tuple[Any, ...]]:
        return Counter(tuple(row.get(field) for field in sorted(fields)) for row in rows)

    for done in (passes.first, passes.later):
        truth = done.truth[name]
        columns = set(done.tables[name][0]) - {*passes.api.by_name[name].timestamps}
        values = {field: [row.get(field) for row in truth] for field in dict.fromkeys(chain.from_iterable(truth))}
        fields = {
            field
            for field, found in values.items()
            if field in columns
            and len({type(value) for value in found if value is not None}) == 1
            and all(value is None or isinstance(value, str | int) for value in found)
            and not any(map(dated, found))
        }

        assert fields or name in ("ingestion_status", "holdouts", "ip_ranges")
        assert plain(live(done.tables[name]), fields) == plain(truth, fields)


def every_requested_page_is_booked_on_its_endpoint(passes: Passes, name: str) -> None:
    for done in passes.each:
        stats = done.results[name].stats
        assert stats is not None
        assert stats.meter.requests == done.requests[name]


def second_sync_without_changes_loads_nothing(passes: Passes, name: str) -> None:
    first, unchanged = passes.first, passes.unchanged
    result = unchanged.results[name]

    assert result.status == "complete"
    assert result.stats.rows_loaded == 0
    assert result.rows_deleted == 0
    assert Counter(map(str, unchanged.tables[name][1])) == Counter(map(str, first.tables[name][1]))


def only_what_changed_is_loaded_and_what_vanished_is_marked(passes: Passes, name: str) -> None:
    result = passes.later.results[name]
    before, after = passes.unchanged.truth[name], passes.later.truth[name]
    if not passes.api.by_name[name].primary_key:
        assert result.stats.rows_loaded == (len(after) if after != before else 0)
        return
    then = dict(zip(keyed(passes, name, before), before, strict=True))
    now = dict(zip(keyed(passes, name, after), after, strict=True))

    assert result.stats.rows_loaded == sum(now[key] != then.get(key) for key in now)
    assert result.rows_deleted == len(then.keys() - now.keys())


def columns_are_the_key_what_came_and_our_own(passes: Passes, name: str) -> None:
    endpoint, truth = passes.api.by_name[name], passes.first.truth[name]
    given = endpoint.parents.params if endpoint.parents else ()
    begin = list(dict.fromkeys((*endpoint.primary_key, *given)))
    own = [*([DELETED_AT] if endpoint.primary_key else []), ROW_HASH, "_dlt_load_id", "_dlt_id"]
    cursors = {path for path in endpoint.cursor_path if path in endpoint.times}
    came = {field for row in truth for field, value in row.items() if value is not None}
    columns = passes.first.tables[name][0]
    found = passes.first.results[name].columns
    assert found is not None
    types = {each: spec.get("data_type") for each, spec in found.items()}

    assert columns[: len(begin)] == begin
    assert columns[-len(own) :] == own
    assert {*columns[len(begin) : -len(own)]} == (cursors | came) - {*begin}
    assert list(types) == columns
    assert {types[each] for each in endpoint.timestamps if each in types} <= {"timestamp"}
    assert types[ROW_HASH] == "bigint"


def counts_of_a_result_are_those_of_the_table(passes: Passes, name: str) -> None:
    result = passes.first.results[name]

    assert result.table_rows == len(passes.first.tables[name][1]) == len(passes.first.truth[name])
    assert result.stats.rows_read >= result.stats.rows_loaded >= result.table_rows
    assert not result.stats.failures
    assert result.stats.rows_rejected == 0
    assert result.stats.doubt == ""


def cursor_is_the_highest_value_upstream(passes: Passes, name: str) -> None:
    moving = [path for path in passes.api.by_name[name].cursor_path if "." not in path]
    for done in passes.each:
        found = [[row[path] for path in moving if row[path]] for row in live(done.tables[name])]
        assert done.results[name].cursor == max((values[0] for values in found if values), default=None)


def every_check_of_the_table_passes(passes: Passes, name: str) -> None:
    for done in passes.each:
        assert done.results[name].checks
        # the last sync may well bring a column that no row had before
        assert [each for each in done.results[name].checks if not each.passed and each.name != SCHEMA] == []


SCHEMA = "schema_unchanged"
CHECKS: tuple[Callable[[Passes, str], None], ...] = (
    table_holds_exactly_the_rows_upstream,
    plain_fields_arrive_as_they_were_sent,
    every_requested_page_is_booked_on_its_endpoint,
    second_sync_without_changes_loads_nothing,
    only_what_changed_is_loaded_and_what_vanished_is_marked,
    columns_are_the_key_what_came_and_our_own,
    counts_of_a_result_are_those_of_the_table,
    cursor_is_the_highest_value_upstream,
    every_check_of_the_table_passes,
)
