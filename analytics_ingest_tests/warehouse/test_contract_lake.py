"""The contract over every endpoint of the registry, with a DuckLake as the destination."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from analytics_ingest_tests.stores import lake_store
from analytics_ingest_tests.sync.test_contract import run, test_contract, test_the_sandbox_changes_what_it_says

if TYPE_CHECKING:
    from analytics_ingest_tests.sync.test_contract import Ran

pytestmark = pytest.mark.extended

__all__ = ["test_contract", "test_the_sandbox_changes_what_it_says"]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return run(tmp_path_factory.mktemp("contract_lake"), lake_store)
