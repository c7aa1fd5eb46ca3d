"""The five APIs as vendors serve them: one module per vendor, laid over the neutral declaration."""

from analytics_ingest.apis.declaration import Api
from analytics_ingest.apis.profiles.circleci import CIRCLECI
from analytics_ingest.apis.profiles.rootly import ROOTLY
from analytics_ingest.apis.profiles.shortcut import SHORTCUT
from analytics_ingest.apis.profiles.split import SPLIT
from analytics_ingest.apis.profiles.statsig import STATSIG

VENDORS: tuple[Api, ...] = (STATSIG, ROOTLY, SHORTCUT, CIRCLECI, SPLIT)
"""Every profile."""

__all__ = ["VENDORS"]
