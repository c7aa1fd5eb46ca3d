"""The vendor profiles: one module per vendor, which changes the neutral declaration of an API."""

from analytics_ingest.apis.model import Api
from analytics_ingest.apis.vendors.circleci import CIRCLECI
from analytics_ingest.apis.vendors.rootly import ROOTLY
from analytics_ingest.apis.vendors.shortcut import SHORTCUT
from analytics_ingest.apis.vendors.split import SPLIT
from analytics_ingest.apis.vendors.statsig import STATSIG

VENDORS: tuple[Api, ...] = (STATSIG, ROOTLY, SHORTCUT, CIRCLECI, SPLIT)
"""Every profile."""

__all__ = ["VENDORS"]
