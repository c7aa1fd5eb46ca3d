"""Every vendor's server, by the name of its profile."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from analytics_ingest.apis import PROFILES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from analytics_ingest_tests.vendors.server import Vendor

VENDORS: Mapping[str, type[Vendor]] = {}
for profile in [name for profiles in PROFILES.values() for name in profiles]:
    try:
        module = import_module(f"analytics_ingest_tests.vendors.{profile}")
    except ModuleNotFoundError:
        continue
    VENDORS[profile] = next(
        each for each in vars(module).values() if getattr(each, "profile", None) == profile and isinstance(each, type)
    )
