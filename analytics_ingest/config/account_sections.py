"""Tells the sections of ``sources`` that are meant for accounts from those of other dlt sources."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from analytics_ingest.apis.registry import APIS, PROFILES
from analytics_ingest.config.lookup import CODE, declared_kinds
from analytics_ingest.config.spelling import is_misspelt

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from analytics_ingest.config.lookup import FoundSetting

VENDORS = frozenset(profile for profiles in PROFILES.values() for profile in profiles)
"""The names of all profiles."""


def declared_accounts(found: Sequence[FoundSetting]) -> dict[str, str]:
    """The value of ``api`` in each section that is meant for an account, by section.

    A section of another dlt source may have a key ``api`` too. A section is meant for an account if its ``api`` is the
    name of an API or of a vendor, or one of these misspelt; if it has a ``profile`` of ours; or if code declares it.

    Args:
        found: What is set.
    """
    with_profile = {
        each.parts[1]
        for each in found
        if each.parts[:1] == ("sources",) and each.parts[2:] == ("profile",) and _is_near(str(each.value), VENDORS)
    }
    return {
        section: kind
        for section, (kind, setting) in declared_kinds(found).items()
        if setting.place == CODE or section in with_profile or _is_near(kind, (*APIS, *VENDORS))
    }


def _is_near(name: str, known: Iterable[str]) -> bool:
    """Whether a name is one of those known, in another spelling or with a letter wrong."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.strip().lower())
    return any(plain == each or is_misspelt(plain, each) for each in known)
