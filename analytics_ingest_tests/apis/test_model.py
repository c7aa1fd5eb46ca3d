"""The classes that declare an API: fingerprints of declarations."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

import pytest

from analytics_ingest.apis.model import Endpoint
from analytics_ingest.apis.parents import FromChanged, FromTable
from analytics_ingest.apis.registry import APIS
from analytics_ingest.apis.vendors import VENDORS

EVERY = {f"{api.profile or api.name}/{each.name}": each for api in (*APIS.values(), *VENDORS) for each in api.endpoints}
RULES = APIS["experimentation"].by_name["gates_rules"]
PROGRAM = """
from analytics_ingest.apis.registry import APIS
from analytics_ingest.apis.vendors import VENDORS
for api in (*APIS.values(), *VENDORS):
    for each in api.endpoints:
        print(f"{api.profile or api.name}/{each.name}", each.declaration)
"""


def test_a_declaration_has_the_same_fingerprint_in_each_process() -> None:
    for each in EVERY.values():
        # cached properties must not count
        assert each.path_params is not None
        assert each.upstream is not None
    said = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    assert dict(line.split(" ") for line in said.splitlines()) == {
        name: each.declaration for name, each in EVERY.items()
    }


@pytest.mark.parametrize(
    "other",
    [
        replace(RULES, path="/v2/gates/{gate_id}/rules"),
        replace(RULES, primary_key=("id",)),
        replace(RULES, timestamps=()),
        replace(RULES, parents=FromTable("gates", gate_id="id", updated="changed_at")),
        replace(RULES, yield_map=iter),
        replace(RULES, secrets=("token",)),
        replace(RULES, json={}),
        replace(RULES, parents=FromChanged("gates", gate_id="id")),
    ],
)
def test_a_declaration_that_differs_has_another_fingerprint(other: Endpoint) -> None:
    assert replace(RULES).declaration == RULES.declaration
    assert other.declaration != RULES.declaration


def test_a_declared_double_changes_no_fingerprint() -> None:
    """The rows stay the same, so that no history has a redeclaration."""
    assert replace(RULES, doubles=("pass_percentage",)).declaration == RULES.declaration


def test_an_endpoint_that_cannot_be_filtered_is_not_read_as_a_whole_now_and_then() -> None:
    with pytest.raises(ValueError, match=r"^gates_rules is always read as a whole: there is no start_param$"):
        replace(RULES, whole_every=timedelta(days=1))


def test_fingerprint_of_an_endpoint_without_a_body_is_the_one_that_warehouses_hold() -> None:
    assert EVERY["shortcut/epics"].declaration == "f3e8fbf351fa3657"
