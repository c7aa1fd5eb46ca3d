"""The five APIs as vendors serve them: one module per vendor, laid over the neutral declaration."""

from analytics_ingest.apis.model import Api
from analytics_ingest.apis.vendors.circleci import CIRCLECI
from analytics_ingest.apis.vendors.rootly import ROOTLY
from analytics_ingest.apis.vendors.shortcut import SHORTCUT
from analytics_ingest.apis.vendors.split import SPLIT
from analytics_ingest.apis.vendors.statsig import STATSIG

VENDORS: tuple[Api, ...] = (STATSIG, ROOTLY, SHORTCUT, CIRCLECI, SPLIT)
"""Every profile."""

__all__ = ["VENDORS"]
