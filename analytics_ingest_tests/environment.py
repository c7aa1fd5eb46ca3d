"""Sets the environment of a test: its files, the settings of an API, and whatever else is configured by variables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

WAREHOUSE = "warehouse.duckdb"


def set_environment(patch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    """Sets environment variables."""
    for name, value in variables.items():
        patch.setenv(name, value)


def configure_api(patch: pytest.MonkeyPatch, api: str, /, **settings: object) -> None:
    """Sets settings of an API by their names in any case: ``configure_api(patch, API, base_url=server.url, ...)``."""
    set_environment(patch, {f"SOURCES__{api}__{name}".upper(): str(value) for name, value in settings.items()})


def use_folder(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Puts the warehouse and dlt's state into a folder, and has dlt say nothing."""
    set_environment(
        patch,
        {
            "DLT_DATA_DIR": str(folder / "dlt"),
            "DESTINATION__DUCKDB__CREDENTIALS": str(folder / WAREHOUSE),
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            "RUNTIME__LOG_LEVEL": "CRITICAL",
        },
    )
