"""Every vendor's server, by the name of its profile."""

from __future__ import annotations

from collections.abc import Mapping

from analytics_ingest_tests.vendors.circleci import Circleci
from analytics_ingest_tests.vendors.rootly import Rootly
from analytics_ingest_tests.vendors.server import Vendor
from analytics_ingest_tests.vendors.shortcut import Shortcut
from analytics_ingest_tests.vendors.split import Split
from analytics_ingest_tests.vendors.statsig import Statsig

VENDORS: Mapping[str, type[Vendor]] = {
    vendor.profile: vendor for vendor in (Statsig, Rootly, Shortcut, Circleci, Split)
}
