"""Limits which environment variables dlt reads."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from dlt.common.configuration.container import Container
from dlt.common.configuration.providers import EnvironProvider
from dlt.common.configuration.providers import environ as dlts
from dlt.common.configuration.specs.base_configuration import is_secret_hint
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
from dlt.common.runtime.anon_tracker import disable_anon_tracker

from analytics_ingest.config.project import read_project_settings
from analytics_ingest.config.secret_files import find_secret

CLOUDS = ("aws_", "azure_", "google_")
"""Prefixes of the cloud providers' own variables, which have no section."""

DESTINATION = "DESTINATION__"
"""Start of the variables of destinations, whose secrets may be in files of their own."""

TELEMETRY = "dlthub_telemetry"
"""dlt's setting for usage reports to its makers: always off."""

LOAD_ID = ("add_dlt_load_id", "parquet_normalizer")
"""dlt's setting, and its section, for a column with the load id in Arrow tables: always on, as in tables of rows."""

EXPECTED = ("native writer could not be found", "several column hints were different")
"""Texts of dlt's warnings about Arrow tables that are correct: not logged."""


class SectionedEnvironment(EnvironProvider):
    """Gives dlt the environment variables that have a section in their name, such as ``NORMALIZE__WORKERS``.

    A secret of a destination may be in a file that a variable names, see ``secret_files``.

    dlt falls back to the name of a setting without sections, and so picks up unrelated variables: with ``DEV_MODE``
    each sync would load into a new dataset, and with ``WORKERS`` dlt would fork this process.
    """

    def __init__(self) -> None:
        """Checks once whether Docker or Kubernetes mount secrets: dlt would look for such a file at each look-up."""
        self._has_secrets = Path(dlts.SECRET_STORAGE_PATH).parent.is_dir()

    def get_value(self, key: str, hint: type[Any], pipeline_name: str | None, *sections: str) -> tuple[Any | None, str]:
        """The value and the name of a variable. The value is ``None`` if it is not set, or not meant for dlt.

        Raises:
            SecretFileError: The file of a secret cannot be read.
        """
        if key == TELEMETRY:
            # dlt asks this provider first, so neither a variable nor a file turns telemetry on
            return "false", self.get_key_name(key, *sections)
        if (key, *sections[-1:]) == LOAD_ID:
            return "true", self.get_key_name(key, *sections)
        if not (pipeline_name or sections or key.startswith(CLOUDS)):
            return None, self.get_key_name(key)
        name = self.get_key_name(key, pipeline_name or "", *sections)
        if name.startswith(DESTINATION) and is_secret_hint(hint):
            secret, _ = find_secret(name)
            if secret is not None:
                return secret, name
        if self._has_secrets:
            found: tuple[Any | None, str] = super().get_value(key, hint, pipeline_name or "", *sections)
            return found
        return os.environ.get(name), name


def read_sections_only() -> None:
    """Has dlt ignore variables without a section, and send no telemetry, from now on and in this process.

    It reads the project's ``.dlt``, see ``read_project_settings``.
    """
    read_project_settings()
    provider = SectionedEnvironment()
    logging.getLogger("dlt").addFilter(_is_unexpected)
    Container()[PluggableRunContext].providers[provider.name] = provider
    # the line above has started it: dlt does so when its context is first used
    disable_anon_tracker()


def _is_unexpected(record: logging.LogRecord) -> bool:
    return not any(text in str(record.msg) for text in EXPECTED)
