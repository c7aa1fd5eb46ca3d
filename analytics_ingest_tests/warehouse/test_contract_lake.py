"""The contract over every endpoint of the registry, with a DuckLake as the destination."""

from __future__ import annotations

import pytest

from analytics_ingest_tests.stores import lake_store
from analytics_ingest_tests.sync.test_contract import contract_run, test_contract, test_the_sandbox_changes_what_it_says

pytestmark = pytest.mark.extended

__all__ = ["test_contract", "test_the_sandbox_changes_what_it_says"]

ran = contract_run(lake_store)
