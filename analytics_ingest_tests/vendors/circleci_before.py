"""CircleCI with few projects, as it was when an earlier version of the product filled a warehouse from it."""

from __future__ import annotations

from analytics_ingest_tests.vendors import circleci_rows as make
from analytics_ingest_tests.vendors.circleci import CLOUD, ENGINE, SERVICE, SHOP, Circleci
from analytics_ingest_tests.vendors.circleci_rows import LONG_AGO

QUIET, UNFOLLOWED = f"{CLOUD}/{make.opaque('project', 'quiet')}", f"{CLOUD}/{make.opaque('project', 'other')}"
PROJECTS = (SHOP, ENGINE, SERVICE, QUIET, UNFOLLOWED)


class Before(Circleci):
    """A few projects, none of which changes by itself: without pipelines, and not followed, too."""

    def fill(self) -> None:
        self.add_user()
        for org in ("gh/acme", "bb/basalt", CLOUD):
            self.add_organisation(org)
        for slug in (SHOP, ENGINE, SERVICE, QUIET):
            self.add_project(slug)
        self.add_project(UNFOLLOWED, followed=False)
        for slug in (SHOP, ENGINE, SERVICE, UNFOLLOWED):
            self.add_workflow(self.add_pipeline(slug, LONG_AGO))
        shop, engine = self.rows("projects")[:2]
        shop["branches"] |= {"zürich": make.branch(7) | {"share": 0.5}, "a": {}}
        engine["branches"] = None
