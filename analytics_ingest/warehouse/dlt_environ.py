"""What of the environment is dlt's."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from dlt.common.configuration.container import Container
from dlt.common.configuration.providers import EnvironProvider
from dlt.common.configuration.providers import environ as dlts
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
from dlt.common.runtime.anon_tracker import disable_anon_tracker

CLOUDS = ("aws_", "azure_", "google_")
"""How the names of variables begin that clouds have agreed upon, and that need no section."""


TELEMETRY = "dlthub_telemetry"
"""dlt's setting for messages to its makers: off, wherever this package runs."""

LOAD_ID = ("add_dlt_load_id", "parquet_normalizer")
"""dlt's setting, with its section, for a column with the load's id in Arrow tables: on, as in tables of rows."""

EXPECTED = ("native writer could not be found", "several column hints were different")
"""In dlt's warnings about Arrow tables that are as they should be."""


class SectionedEnvironment(EnvironProvider):
    """Environment variables, for dlt, with a section in their name, such as ``NORMALIZE__WORKERS``.

    Below all sections dlt looks for the bare name of a setting, and finds variables that are somebody else's: with
    ``DEV_MODE`` set each sync would go into a dataset of its own, and ``WORKERS`` would fork this process.
    """

    def __init__(self) -> None:
        """Looks whether there are Docker's or Kubernetes' secrets, of which dlt looks for a file at each look-up."""
        self._has_secrets = Path(dlts.SECRET_STORAGE_PATH).parent.is_dir()

    def get_value(self, key: str, hint: type[Any], pipeline_name: str | None, *sections: str) -> tuple[Any | None, str]:
        """The variable's value and its name; ``None`` for its value if it is not set, or not dlt's."""
        if key == TELEMETRY:
            # the first provider wins: neither a variable nor a file turns it on
            return "false", self.get_key_name(key, *sections)
        if (key, *sections[-1:]) == LOAD_ID:
            return "true", self.get_key_name(key, *sections)
        if not (pipeline_name or sections or key.startswith(CLOUDS)):
            return None, self.get_key_name(key)
        if self._has_secrets:
            found: tuple[Any | None, str] = super().get_value(key, hint, pipeline_name or "", *sections)
            return found
        name = self.get_key_name(key, pipeline_name or "", *sections)
        return os.environ.get(name), name


def read_sections_only() -> None:
    """Has dlt pass over variables without a section, and send no telemetry, from now on and in this process."""
    provider = SectionedEnvironment()
    logging.getLogger("dlt").addFilter(_is_unexpected)
    Container()[PluggableRunContext].providers[provider.name] = provider
    # dlt has started it by then: as soon as somebody asks for its context
    disable_anon_tracker()


def _is_unexpected(record: logging.LogRecord) -> bool:
    return not any(text in str(record.msg) for text in EXPECTED)
