"""An upstream of configuration, whose rows a test edits: gates, the rules of each gate, segments; and its histories."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from analytics_ingest.apis.registry import APIS
from analytics_ingest.extract.sync_options import SyncOptions
from analytics_ingest.sync.api_sync import ApiSync
from analytics_ingest.sync.result import EndpointResult
from analytics_ingest_tests.environment import configure_api, set_environment, use_folder
from analytics_ingest_tests.fake_server import KEY, Asked, FakeServer, Response
from analytics_ingest_tests.stores import STORES, Store
from analytics_ingest_tests.trials import LOG

API = "experimentation"
ENDPOINTS = ("gates", "gates_rules", "segments")
KEYS = {name: APIS[API].by_name[name].primary_key for name in ENDPOINTS}
UNVERSIONED = "checks_per_hour"
"""The column of gates with a measurement."""
OWN = ("_row_hash", "_deleted_at", "_dlt_id", "_dlt_load_id")
"""Columns of a table that no upstream sends."""

Row = dict[str, Any]
Key = tuple[Any, ...]
Rows = dict[Key, Row]
"""Rows by their key."""


def now() -> str:
    """The time, as an upstream sends it."""
    return datetime.now(UTC).isoformat()


class Configuration:
    """What the upstream holds.

    Attributes:
        held: By endpoint its rows by their key; a rule's key has the gate first.
        server: The server.
    """

    def __init__(self) -> None:
        self.held: dict[str, Rows] = {name: {} for name in ENDPOINTS}
        self.server = FakeServer(self._answer)

    def put(self, endpoint: str, *key: Any, **values: Any) -> None:
        """Adds a row, or sets fields of it."""
        row = self.held[endpoint].setdefault(key, dict(zip(KEYS[endpoint], key, strict=True)))
        row.update(values)

    def drop(self, endpoint: str, *key: Any) -> Rows:
        """Deletes a row, and the rules of a gate with it; gives what is gone by endpoint and key."""
        gone = {key: self.held[endpoint].pop(key)}
        if endpoint == "gates":
            rules = self.held["gates_rules"]
            gone |= {rule: rules.pop(rule) for rule in list(rules) if rule[0] == key[0]}
        return gone

    def snapshot(self) -> dict[str, Rows]:
        """A copy of what is held."""
        return deepcopy(self.held)

    def _answer(self, asked: Asked) -> Response:
        _, _, endpoint, *rest = (unquote(part) for part in asked.path.split("/"))
        if not rest:
            sent = list(self.held[endpoint].values())
            return Response(body={"data": sent, "total": len(sent)})
        if (rest[0],) not in self.held["gates"]:
            return Response(status=404, body={"error": "no such gate"})
        rules = [
            {name: value for name, value in row.items() if name != "gate_id"}
            for key, row in self.held["gates_rules"].items()
            if key[0] == rest[0]
        ]
        return Response(body={"data": [{"rules": rules}], "total": 1})


def fill(upstream: Configuration) -> None:
    """Adds two gates of one rule each, and nine segments."""
    for name in ("a", "b"):
        upstream.put("gates", name, name="first", owner="Ada", share=1, updated_at=now(), **{UNVERSIONED: 1})
        upstream.put("gates_rules", name, "rule", name="first", owner="Ada")
    for number in range(9):
        upstream.put("segments", str(number), name="first")


@contextmanager
def serving(patch: pytest.MonkeyPatch) -> Iterator[Configuration]:
    """A server, configured as the upstream of the API."""
    upstream = Configuration()
    configure_api(patch, API, base_url=upstream.server.url, api_key=KEY)
    try:
        yield upstream
    finally:
        upstream.server.stop()


@contextmanager
def serving_into(kind: str, folder: Path) -> Iterator[tuple[Store, Configuration]]:
    """A destination and the upstream, configured for the fixtures of a module."""
    with (
        STORES[kind](folder) as store,
        pytest.MonkeyPatch.context() as patch,
        serving(patch) as upstream,
    ):
        patch.delenv("ANALYTICS_INGEST_DESTINATION", raising=False)
        use_folder(patch, folder)
        set_environment(patch, store.settings)
        yield store, upstream


def run(*endpoints: str, full_refresh: bool = False, run_id: str = "") -> dict[str, EndpointResult]:
    """Syncs the API, or some of its endpoints; the results by endpoint."""
    selected = set(endpoints or ENDPOINTS)
    options = SyncOptions(full_refresh=full_refresh)
    results = ApiSync(APIS[API], selected=selected, options=options, run_id=run_id, log=LOG).run()
    return {result.endpoint.name: result for result in results}


def rows(store: Store, sql: str) -> list[Row]:
    """Rows of a query, with JSON as the destination's driver or the standard library reads it."""
    with store.reading() as query:
        columns, found = query(sql)
    return [{name: _plain(value) for name, value in zip(columns, each, strict=True)} for each in found]


def _plain(value: Any) -> Any:
    """A value of a column: some drivers give JSON back as text."""
    return json.loads(value) if isinstance(value, str) and value[:1] in ("[", "{") else value


def history(store: Store, endpoint: str) -> list[Row]:
    """The versions of an endpoint's rows, by key and the time at which they were seen."""
    order = ", ".join((*KEYS[endpoint], "_seen_at"))
    return rows(store, f"SELECT * FROM {API}._history_{endpoint} ORDER BY {order}")


def present(store: Store, endpoint: str) -> Rows:
    """The rows of a table that are not marked as deleted, with what was sent."""
    found = rows(store, f"SELECT * FROM {API}.{endpoint}")
    return {key_of(endpoint, row): sent(row) for row in found if row.get("_deleted_at") is None}


def key_of(endpoint: str, row: Row) -> Key:
    return tuple(row[name] for name in KEYS[endpoint])


def sent(row: Row) -> Row:
    """The columns of a row, or of a version, that an upstream sends."""
    return {name: value for name, value in row.items() if not name.startswith("_")}
