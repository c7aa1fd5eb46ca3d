"""dlt looks up what a type declares once, and validates as before."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from dlt.common import validation
from dlt.common.exceptions import DictValidationException
from dlt.common.schema.typing import TColumnSchema

from analytics_ingest.warehouse.type_hints import cache_type_hints


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> Counter[type]:
    """How often dlt has looked up which type, with what it had before put in its place again."""
    asked: Counter[type] = Counter()
    dlts = vars(validation)["get_type_hints"]
    dlts = getattr(dlts, "__wrapped__", dlts)

    def counting(spec: type, **names: Any) -> dict[str, Any]:
        asked[spec] += 1
        return dlts(spec, **names)

    monkeypatch.setattr(validation, "get_type_hints", counting)
    return asked


def test_what_a_type_declares_is_looked_up_once(looked_up: Counter[type]) -> None:
    cache_type_hints()
    cache_type_hints()
    for name in ("id", "name", "state"):
        validation.validate_dict(TColumnSchema, {"name": name, "data_type": "text"}, ".")

    assert looked_up == {TColumnSchema: 1}


def test_dlt_refuses_what_it_refused_before(looked_up: Counter[type]) -> None:
    cache_type_hints()
    for wrong in ({"name": "id", "data_type": 7}, {"name": "id", "unknown": True}):
        with pytest.raises(DictValidationException):
            validation.validate_dict(TColumnSchema, wrong, ".")

    assert looked_up == {TColumnSchema: 1}
