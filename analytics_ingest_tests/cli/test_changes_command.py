"""``analytics-ingest changes``: which changes it prints, how a line shows one, and its exit codes."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from analytics_ingest.apis.registry import APIS
from analytics_ingest.cli.app import app
from analytics_ingest.cli.lines import NEITHER
from analytics_ingest.diagnostics.recorded_changes import read_changes
from analytics_ingest.extract.column_names import column_name
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.conftest import ROOT, FakeClock, sync
from analytics_ingest_tests.environment import configure_api
from analytics_ingest_tests.stores import Store, on_duckdb
from analytics_ingest_tests.vendors.rootly import Rootly
from analytics_ingest_tests.vendors.rootly_rows import edit, found

FLAGS = ("feature_management", "feature_flags")
GATES = ("experimentation", "gates")
NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
DAY = ("--from", "2026-01-15", "--to", "2026-01-16")
with_view = pytest.mark.parametrize(
    "store", ["duckdb", pytest.param("postgres", marks=pytest.mark.extended)], indirect=True
)
"""For a test of the destinations that have the view."""
Recorded = tuple[datetime, tuple[str, str], str, str | None, str, dict[str, tuple[Any, Any]] | None]
"""A change: when, the account and the endpoint, the key, the name, the operation, and by field both values."""


def run(*arguments: str, columns: int = 300) -> tuple[int, str]:
    """The exit code and standard output of the command, or the text of its error."""
    result = CliRunner().invoke(app, ["changes", *arguments], env={"COLUMNS": str(columns)})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.exit_code, result.stdout or result.stderr


def lines(*arguments: str) -> list[str]:
    """The lines of a command that exits with 0, without the summary."""
    code, output = run(*arguments)
    assert code == 0, output
    return output.splitlines()[:-1]


def record(store: Store, *changes: Recorded, accounts: tuple[str, ...] = ()) -> None:
    """Creates the view of the accounts that have changes, and of others, as a table of the same shape."""
    kind = "JSONB" if "ANALYTICS_INGEST_DESTINATION" in store.settings else "JSON"
    with store.writing() as execute:
        for account in dict.fromkeys([*accounts, *(change[1][0] for change in changes)]):
            execute(f"CREATE SCHEMA IF NOT EXISTS {account}", [])
            execute(
                f'CREATE TABLE {account}._changes ("at" TIMESTAMPTZ, api VARCHAR, endpoint VARCHAR, key VARCHAR, '
                f"name VARCHAR, operation VARCHAR, fields {kind})",
                [],
            )
        for at, (account, endpoint), key, name, operation, fields in changes:
            values = {field: {"before": before, "after": after} for field, (before, after) in (fields or {}).items()}
            execute(
                f"INSERT INTO {account}._changes VALUES (?, ?, ?, ?, ?, ?, ?)",
                [at, account, endpoint, key, name, operation, None if fields is None else json.dumps(values)],
            )


@with_view
def test_a_line_per_change_over_all_accounts_in_order_of_time(store: Store) -> None:
    status = {"rollout_status": ({"id": "1", "name": "Killed"}, {"id": "2", "name": "Ramping"})}
    cursor = {"updated_at": ("2026-01-15T09:00:00Z", "2026-01-15T12:00:00Z")}
    record(
        store,
        (NOON, FLAGS, "f1", "checkout_tax_1", "update", status | cursor),
        (NOON + timedelta(minutes=1, microseconds=5), GATES, "g/1", None, "delete", None),
        (NOON - timedelta(minutes=1), GATES, "g1", "g1", "insert", None),
        (NOON + timedelta(minutes=2), FLAGS, "f1", "checkout_tax_1", "restore", {}),
        (NOON + timedelta(minutes=3), FLAGS, "f2", "f two", "update", cursor),
        accounts=tuple(APIS),
    )
    code, output = run(*DAY)

    assert code == 0
    assert output.splitlines() == [
        "2026-01-15T11:59:00Z  experimentation/gates  g1  insert",
        (
            "2026-01-15T12:00:00Z  feature_management/feature_flags  checkout_tax_1 (f1)  update  "
            'rollout_status.id: "1" → "2", rollout_status.name: "Killed" → "Ramping"'
        ),
        "2026-01-15T12:01:00Z  experimentation/gates  g/1  delete",
        "2026-01-15T12:02:00Z  feature_management/feature_flags  checkout_tax_1 (f1)  restore",
        (
            "2026-01-15T12:03:00Z  feature_management/feature_flags  f two (f2)  update  "
            'updated_at: "2026-01-15T09:00:00Z" → "2026-01-15T12:00:00Z"'
        ),
        "1 insert, 2 update, 1 delete, 1 restore from 2026-01-15T00:00:00Z to 2026-01-16T00:00:00Z",
    ]


@with_view
def test_the_start_of_a_window_is_included_and_its_end_is_not(store: Store) -> None:
    steps = [timedelta(seconds=seconds) for seconds in (-1, 0, 1, 59, 60)]
    record(store, *((NOON + step, GATES, str(step.total_seconds()), None, "insert", None) for step in steps))

    def keys(*arguments: str) -> list[str]:
        return [line.split()[2] for line in lines("experimentation", *arguments)]

    assert keys("--from", "2026-01-15T12:00", "--to", "2026-01-15T12:01:00Z") == ["0.0", "1.0", "59.0"]
    assert keys("--from", "2026-01-15T13:00:01+01:00") == ["1.0", "59.0", "60.0"]
    assert keys("--from", "2026-01-15 12:00:59", "--to", "2026-01-16") == ["59.0", "60.0"]
    assert keys("--from", "2026-01-16") == []


@on_duckdb
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], ["1", "20", "50", "1380"]),
        (["--since", "90s"], ["1"]),
        (["--since", "30m"], ["1", "20"]),
        (["--since", "2h"], ["1", "20", "50"]),
        (["--since", "3d"], ["1", "20", "50", "1380", "2880"]),
        (["--since", "2w"], ["1", "20", "50", "1380", "2880", "11520"]),
    ],
)
def test_since(store: Store, arguments: list[str], expected: list[str]) -> None:
    now = datetime.now(UTC)
    minutes = [1, 20, 50, 24 * 60 - 60, 2 * 24 * 60, 8 * 24 * 60]
    record(store, *((now - timedelta(minutes=each), GATES, str(each), None, "insert", None) for each in minutes))

    assert [line.split()[2] for line in lines("experimentation", *arguments)] == expected[::-1]


@on_duckdb
def test_named_accounts_are_read_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    configure_api(monkeypatch, "statsig_eu", api="experimentation", profile="statsig")
    changed = {"name": ("a", "b"), "last_modified_time": (1, 2), "updated_at": (1, 2)}
    record(
        store,
        (NOON, ("statsig_eu", "gates"), "g1", None, "update", changed),
        (NOON, GATES, "g2", None, "update", changed),
        (NOON, FLAGS, "f1", None, "insert", None),
    )

    # each leaves the cursor of its own declaration out
    assert lines("statsig_eu", "experimentation", *DAY) == [
        '2026-01-15T12:00:00Z  statsig_eu/gates  g1  update  name: "a" → "b"',
        '2026-01-15T12:00:00Z  experimentation/gates  g2  update  last_modified_time: 1 → 2, name: "a" → "b"',
    ]


@on_duckdb
def test_values_are_shortened_to_what_differs(store: Store) -> None:
    text = "x" * 100
    fields: dict[str, tuple[Any, Any]] = {
        "a": ([1, 2, *range(100), "old"], [1, 2, *range(100), "new"]),
        "b": (None, text),
        "c": ({"same": 1, "deep": {"er": {"est": {"of": {"all": 1}}}}}, {"same": 1, "deep": {"er": {"est": {}}}}),
        "d": ({"x": None}, {}),
        "e": (1, True),
        "f": ("", "null"),
        "g": (1, 2),
        "h": (1, 2),
    }
    record(store, (NOON, GATES, "k" * 100, "n" * 100, "update", fields))
    [line] = lines("experimentation", *DAY)

    assert line.split("  ")[2] == f"{'n' * 79}… ({'k' * 79}…)"
    assert line.split("  ")[4].split(", ") == [
        'a: …,98,99,"old"] → …,98,99,"new"]',
        f'b: null → "{text[:38]}…',
        'c.deep.er.est: {"of":{"all":1}} → {}',
        'd: {"x":null} → {}',
        "e: 1 → true",
        'f: "" → "null"',
        "and 2 more",
    ]


@on_duckdb
def test_foreign_text_is_printed_safely(store: Store) -> None:
    fields = {"note\x1b[2J": ("a\nb", "[bold]\u202e[/bold]")}
    record(store, (NOON, GATES, "[red]k[/red]\r", "\x1b]0;title\x07", "update", fields))

    assert lines("experimentation", *DAY) == [
        (
            r"2026-01-15T12:00:00Z  experimentation/gates  \x1b]0;title\x07 ([red]k[/red]\r)  update  "
            r'note\x1b[2J: "a\nb" → "[bold]\u202e[/bold]"'
        )
    ]


@on_duckdb
def test_a_terminal_of_ascii(store: Store) -> None:
    record(store, (NOON, GATES, "é" * 100, None, "update", {"name": ("a", "b")}))
    done = subprocess.run(
        [sys.executable, "-m", "analytics_ingest", "changes", "experimentation", *DAY],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=True,
    )

    line = f'2026-01-15T12:00:00Z  experimentation/gates  {"?" * 79}...  update  name: "a" -> "b"'
    assert done.stdout.decode("ascii").splitlines()[0] == line


@with_view
def test_an_account_without_the_view(store: Store) -> None:
    record(store, (NOON, GATES, "g1", None, "insert", None))
    code, output = run(*DAY)

    assert code == 0
    unrecorded = "no sync has recorded changes yet"
    assert {tuple(line.split(maxsplit=2)) for line in output.splitlines()[1:-1]} == {
        (NEITHER.plain, "incident_response", "no endpoint has a history"),
        *((NEITHER.plain, name, unrecorded) for name in APIS.keys() - {"experimentation", "incident_response"}),
    }
    code, output = run("experimentation", "incident_response", "project_planning", *DAY)
    assert code == 1
    assert output.splitlines()[-1] == "Nothing was read of project_planning."
    assert run("experimentation", "incident_response", *DAY)[0] == 0
    assert run("incident_response", *DAY)[0] == 1


@with_view
def test_nothing_is_read_before_the_first_sync(store: Store) -> None:
    code, output = run()

    assert code == 1
    assert output.splitlines()[-1] == f"Nothing was read of {', '.join(APIS)}."


@pytest.mark.extended
@with_view
def test_a_day_of_the_sandbox_is_printed_completely(store: Store, sandbox: SandboxServer) -> None:
    recorded = {
        (api.name, endpoint.name): endpoint for api in APIS.values() for endpoint in api.endpoints if endpoint.history
    }

    def sync_all() -> None:
        for api in APIS.values():
            names = [endpoint.name for endpoint in api.endpoints if (api.name, endpoint.name) in recorded]
            parents = {parent for name in names for parent in api.by_name[name].upstream}
            if names:
                sync(api.name, *names, *parents)

    def served() -> dict[tuple[str, str, str], dict[str, Any]]:
        """By endpoint and key the row, without measurements, by column."""
        return {
            (*of, "/".join(str(row[name]) for name in endpoint.primary_key)): {
                column: value
                for field, value in row.items()
                if (column := column_name(field)) not in endpoint.unversioned
            }
            for of, endpoint in recorded.items()
            for row in sandbox.world.expected(*of)
        }

    sync_all()
    assert lines("--since", "1h")[:-1] == []
    before, start = served(), datetime.now(UTC)
    sandbox.world.advance(24)
    sync_all()
    after = served()
    operations = dict.fromkeys(after.keys() - before.keys(), "insert")
    operations |= dict.fromkeys(before.keys() - after.keys(), "delete")
    operations |= {key: "update" for key in before.keys() & after.keys() if before[key] != after[key]}
    printed = [line.split("  ") for line in lines("--from", start.isoformat())[:-1]]
    names = {key: row.get("name") for key, row in (before | after).items()}

    assert Counter(operations.values()).keys() == {"insert", "update", "delete"}
    assert sorted(words[1:4] for words in printed) == sorted(
        [f"{api}/{endpoint}", f"{name} ({key})" if (name := names[api, endpoint, key]) not in (None, key) else key, did]
        for (api, endpoint, key), did in operations.items()
    )
    found = [
        change
        for api in APIS.values()
        for change in read_changes(api, since=start, log=logging.getLogger("test")) or ()
        if change.operation == "update"
    ]
    for change in found:
        row, former = (rows[change.api, change.endpoint, change.key] for rows in (after, before))
        assert change.fields.keys() == {name for name in row if row[name] != former.get(name)}


@pytest.mark.extended
@pytest.mark.parametrize("store", ["ducklake"], indirect=True)
def test_a_destination_without_the_view(store: Store) -> None:
    code, output = run("experimentation")

    assert code == 1
    assert "the destination ducklake has no view of changes: only duckdb, postgres have it" in output


@on_duckdb
def test_an_account_that_cannot_be_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    record(store, (NOON, GATES, "g1", None, "insert", None), (NOON, FLAGS, "f1", None, "insert", None))
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__LOCK_TIMEOUT", "soon")
    code, output = run("experimentation", "feature_management", *DAY)

    assert code == 1
    assert output.splitlines()[0] == "2026-01-15T12:00:00Z  feature_management/feature_flags  f1  insert"
    assert "✗ experimentation           SOURCES__EXPERIMENTATION__LOCK_TIMEOUT must be a valid number" in output


@on_duckdb
def test_a_sync_that_reads_its_api_is_not_waited_for(
    store: Store, holder: Callable[[str, str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    record(store, (NOON, GATES, "g1", None, "insert", None))
    monkeypatch.setenv("SOURCES__EXPERIMENTATION__LOCK_TIMEOUT", "0.1")
    holder("sync", "experimentation")

    assert lines("experimentation", *DAY) == ["2026-01-15T12:00:00Z  experimentation/gates  g1  insert"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["experiments"], "there is no API or account experiments; there are experimentation, incident_response"),
        (["--since", "2 hours"], "'2 hours' is no duration: write 90s, 30m, 2h, 3d or 1w"),
        (["--since", "0h"], "'0h' is no duration"),
        (["--since", ""], "'' is no duration"),
        (["--since", "999999999w"], "'999999999w' is no duration"),
        (["--from", "yesterday"], "'yesterday' is no date or time: write 2026-01-31 or 2026-01-31T12:00:00Z"),
        (["--from", "2026-01-31", "--to", "2026-02-31"], "'2026-02-31' is no date or time"),
        (["--from", "2026-01-31", "--to", "2026-01-31"], "2026-01-31 is not earlier than --to, 2026-01-31"),
        (["--to", "2026-01-31"], "it needs --from"),
        (["--since", "2h", "--from", "2026-01-31"], "choose one of --since, --from with --to, and --before-incident"),
        (["--since", "2h", "--before-incident", "7"], "choose one of"),
        (["--to", "2026-01-31", "--before-incident", "7"], "choose one of"),
    ],
)
def test_wrong_arguments(arguments: list[str], message: str) -> None:
    code, output = run(*arguments)

    assert code == 2
    assert message in output


INCIDENT = "2d9e4d4e-a3c4-4a5a-8b0c-0d5a3d2d8f00"


@pytest.fixture
def incident(store: Store, shared_sandbox: SandboxServer) -> SandboxServer:
    """A synced incident that started at noon, and changes around it."""
    row = shared_sandbox.world.collection("incident_response", "incidents")[0]
    row["id"] = INCIDENT
    row["attributes"] |= {
        "sequential_id": 70,
        "slug": "incident-70",
        "title": "[b]Down[/b]",
        "started_at": "2026-01-15T12:00:00Z",
    }
    sync("incident_response", "incidents")
    hours = (-25, -24, -1, 0)
    record(store, *((NOON + timedelta(hours=each), FLAGS, str(each), None, "insert", None) for each in hours))
    return shared_sandbox


@with_view
@pytest.mark.parametrize("name", [INCIDENT, pytest.param("70", marks=pytest.mark.extended), "incident-70"])
def test_before_an_incident(incident: SandboxServer, name: str) -> None:
    code, output = run("feature_management", "--before-incident", name)

    assert code == 0
    assert output.splitlines() == [
        f'incident_response {INCIDENT} "[b]Down[/b]" started at 2026-01-15T12:00:00Z',
        "2026-01-14T12:00:00Z  feature_management/feature_flags  -24  insert",
        "2026-01-15T11:00:00Z  feature_management/feature_flags  -1  insert",
        "2 insert, 0 update, 0 delete, 0 restore from 2026-01-14T12:00:00Z to 2026-01-15T12:00:00Z",
        "A change to which the vendor gives no time has that of the next sync, which may be after the start:",
        "analytics-ingest changes --from 2026-01-15T12:00:00Z --to 2026-01-15T13:00:00Z",
    ]


@on_duckdb
@pytest.mark.parametrize(
    "start", [None, *(pytest.param(each, marks=pytest.mark.extended) for each in ("0001-01-01T00:00:00Z", ""))]
)
def test_an_incident_without_a_start_is_placed_by_its_creation(incident: SandboxServer, start: str | None) -> None:
    row = incident.world.collection("incident_response", "incidents")[0]
    row["attributes"]["started_at"], row["created_at"] = start, "2026-01-15T11:30:00Z"
    sync("incident_response", "incidents")

    assert "started at 2026-01-15T11:30:00Z" in run("--before-incident", "70")[1]
    row["created_at"] = None
    sync("incident_response", "incidents")
    code, output = run("--before-incident", "70")
    assert code == 1
    assert output == (
        "the incident '70' has no start in incident_response.incidents: started_at and created_at are null\n"
    )


@with_view
def test_an_incident_that_no_table_has(incident: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    configure_api(monkeypatch, "rootly_eu", api="incident_response")
    code, output = run("feature_management", "--before-incident", "7' OR 1=1 --")

    assert code == 1
    assert output == (
        'no table has an incident whose id, number or slug is "7\' OR 1=1 --": looked at incident_response.incidents, '
        "rootly_eu.incidents (which no sync has made yet)\n"
    )


@on_duckdb
def test_a_number_of_several_incidents(incident: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    configure_api(monkeypatch, "rootly_eu", api="incident_response")
    rows = incident.world.collection("incident_response", "incidents")
    rows[1]["attributes"]["sequential_id"] = 70
    rows[2]["attributes"]["slug"] = "70"
    sync("incident_response", "incidents")
    code, output = run("--before-incident", "70")

    assert code == 2
    assert "'70' names 2 incidents" in output
    for row in rows[:2]:
        assert f"incident_response {row['id']}" in output
    # its id names one, and an id comes before a number
    rows[2]["id"] = "70"
    sync("incident_response", "incidents")
    for name in (INCIDENT, "70"):
        assert run("--before-incident", name)[1].startswith(f"incident_response {name} ")


@with_view
def test_an_incident_of_rootly(store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    with Rootly() as rootly:
        rootly.configure(monkeypatch)
        edit(rootly, "incidents", 5, started_at="2026-01-15T04:00:00.000-08:00")
        edit(rootly, "incidents", 6, started_at=None, created_at="2026-01-15T05:00:00.000-08:00")
        rootly.sync("incidents")
        fifth, sixth = (found(rootly, "incidents", place)["id"] for place in (5, 6))
    record(store, accounts=("incident_response",))

    # an incident's number is one more than its place
    for name, described in (
        ("6", f'{fifth} "Incident 5" started at 2026-01-15T12:00:00Z'),
        (sixth, f'{sixth} "Incident 6" started at 2026-01-15T13:00:00Z'),
    ):
        code, output = run("incident_response", "--before-incident", name)
        assert code == 0
        assert output.splitlines()[0] == f"incident_response {described}"
