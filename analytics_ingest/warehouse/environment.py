"""What of the environment is dlt's."""

from __future__ import annotations

from typing import Any

from dlt.common.configuration.container import Container
from dlt.common.configuration.providers import EnvironProvider
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext

CLOUDS = ("aws_", "azure_", "google_")
"""How the names of variables begin that clouds have agreed upon, and that need no section."""


class SectionedEnvironment(EnvironProvider):
    """Environment variables, for dlt, with a section in their name, such as ``NORMALIZE__WORKERS``.

    Below all sections dlt looks for the bare name of a setting, and finds variables that are somebody else's: with
    ``DEV_MODE`` set each sync would go into a dataset of its own, and ``WORKERS`` would fork this process.
    """

    def get_value(self, key: str, hint: type[Any], pipeline_name: str | None, *sections: str) -> tuple[Any | None, str]:
        """The variable's value and its name; ``None`` for its value if it is not set, or not dlt's."""
        if not (pipeline_name or sections or key.startswith(CLOUDS)):
            return None, self.get_key_name(key)
        found: tuple[Any | None, str] = super().get_value(key, hint, pipeline_name or "", *sections)
        return found


def read_sections_only() -> None:
    """Has dlt pass over variables without a section, from now on and in this process."""
    provider = SectionedEnvironment()
    Container()[PluggableRunContext].providers[provider.name] = provider
