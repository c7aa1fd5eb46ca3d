"""A child's row that has a field with the name of a path parameter: the path says whose row it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analytics_ingest.apis.registry import APIS
from analytics_ingest.sandbox.server import SandboxServer
from analytics_ingest_tests.conftest import expected_keys, live_keys, query, sync


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


def file_elsewhere(server: SandboxServer, api: str) -> list[tuple[str, str]]:
    """Gives each row of a child the id of another parent; the endpoints and parameters of which there are such rows."""
    done = []
    for endpoint in APIS[api].endpoints:
        if not endpoint.parents:
            continue
        for param in endpoint.path_params:
            lists: dict[tuple[Any, ...], list[Any]] = server.world.collection(api, endpoint.name)
            place = endpoint.path_params.index(param)
            ids = sorted({key[place] for key in lists}, key=str)
            rows = [(key[place], row) for key, found in lists.items() for row in found if isinstance(row, dict)]
            if len(ids) < 2 or not rows or camel(param) in rows[0][1]:
                continue
            for mine, row in rows:
                row[camel(param)] = ids[(ids.index(mine) + 1) % len(ids)]
            done.append((endpoint.name, param))
    return done


@pytest.mark.parametrize(
    "api",
    [
        pytest.param(name, marks=[] if name == "feature_management" else pytest.mark.extended)
        for name, api in APIS.items()
        if any(each.path_params for each in api.endpoints)
    ],
)
def test_rows_belong_to_the_parent_in_the_path(tmp_path: Path, shared_sandbox: SandboxServer, api: str) -> None:
    changed = file_elsewhere(shared_sandbox, api)
    assert changed
    names = {name for each in APIS[api].endpoints if each.parents for name in (each.name, *each.upstream)}
    results = sync(api, *names)
    assert {result.status for result in results.values()} == {"complete"}
    for name in names:
        assert live_keys(tmp_path, api, name) == expected_keys(shared_sandbox.world, api, name), name
    described = "SELECT table_name, column_name FROM information_schema.columns"
    columns = set(query(tmp_path, f"{described} WHERE table_schema = '{api}'"))
    # some lists are made of their parent's rows, and have no room for a field
    kept = [(name, param) for name, param in changed if (name, f"sent_{param}") in columns]
    assert kept
    for name, param in kept:
        same = f"count_if({param}::VARCHAR = sent_{param}::VARCHAR)"
        assert query(tmp_path, f"SELECT count(sent_{param}) > 0, {same} FROM {api}.{name}") == [(True, 0)], name
    assert {result.stats.rows_loaded for result in sync(api, *names).values()} == {0}
