"""Keeps a warehouse in step with REST APIs: a Dagster code location, a builder of definitions, and a Dagster component.

``build_definitions`` and ``RestApiSync`` are imported when they are used: the command line starts without Dagster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analytics_ingest.orchestrate.builder import build_definitions
    from analytics_ingest.orchestrate.component import RestApiSync

__all__ = ["RestApiSync", "build_definitions"]


def __getattr__(name: str) -> Any:
    if name == "build_definitions":
        from analytics_ingest.orchestrate.builder import build_definitions  # noqa: PLC0415

        return build_definitions
    if name == "RestApiSync":
        from analytics_ingest.orchestrate.component import RestApiSync  # noqa: PLC0415

        return RestApiSync
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The names that Dagster searches for components."""
    return sorted({*globals(), *__all__})
