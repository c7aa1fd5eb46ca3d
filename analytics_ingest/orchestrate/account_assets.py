"""The assets of one account in a code location: their keys, their selection, and their place in the asset graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from dagster import AssetKey, AssetSelection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from analytics_ingest.apis.model import Api

ACCOUNT_TAG = "analytics_ingest/account"
"""Tag of every asset of this package: its account. Selections use it, so that they have no asset of a host project."""


@dataclass(frozen=True, kw_only=True)
class AccountAssets:
    """The assets of one account, ``<prefix>/<account>/<endpoint>``.

    Attributes:
        api: The account's API, as its vendor serves it.
        key_prefix: Parts of the asset keys before the account's name.
        group_name: The asset group.
        owners: Owners beside those of the setting ``OWNERS``.
        tags: Tags beside those of the product.
        problems: What is wrong with the settings that its syncs need, a sentence for each.
        missing: Which settings must be set before it can be synced; empty if it is configured.
    """

    api: Api
    key_prefix: Sequence[str] = ()
    group_name: str = ""
    owners: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    problems: Sequence[str] = ()
    missing: str = ""

    @property
    def name(self) -> str:
        """The account's name."""
        return self.api.name

    @property
    def group(self) -> str:
        """The asset group: the account's name unless another one is chosen."""
        return self.group_name or self.api.name

    @property
    def obstacles(self) -> Sequence[str]:
        """Why the account cannot be synced: what is wrong with its settings, or else which ones are missing."""
        return self.problems or ((self.missing,) if self.missing else ())

    def key(self, endpoint: str) -> AssetKey:
        """The key of an endpoint's asset."""
        return AssetKey([*self.key_prefix, self.api.name, endpoint])

    @property
    def selection(self) -> AssetSelection:
        """All assets of the account, also if a host project has moved them to another group or prefix."""
        return AssetSelection.tag(ACCOUNT_TAG, self.api.name)


def selection_of(accounts: Sequence[AccountAssets]) -> AssetSelection:
    """All assets of several accounts."""
    return reduce(or_, (account.selection for account in accounts))


def prefixed(prefix: str, name: str) -> str:
    """A name with a prefix; the name alone if the prefix is empty."""
    return f"{prefix}_{name}" if prefix else name


def endpoint_of(key: AssetKey) -> str:
    """The endpoint of an asset of this package."""
    return key.path[-1]


def account_of(key: AssetKey) -> str:
    """The account of an asset of this package; of another asset anything, or nothing."""
    return key.path[-2] if len(key.path) > 1 else ""
