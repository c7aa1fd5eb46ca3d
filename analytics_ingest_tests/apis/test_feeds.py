"""Feeds: which parents a child is asked for, as exact rows."""

from __future__ import annotations

import pytest

from analytics_ingest.apis import APIS
from analytics_ingest.apis.feeds import MARK, From, Join, Union
from analytics_ingest.apis.scope import Scope


def reading(tables):
    """Reads columns of tables that are given as lists of dictionaries."""

    def read(resource, columns):
        return [tuple(row.get(name) for name in columns) for row in tables[resource]]

    return read


def rows(feed, read):
    return [{name: value for name, value in row.items() if name != MARK} for row in feed.rows(read, Scope())]


def test_from_renames_columns_and_adds_what_it_derives():
    feed = From(
        "jobs",
        slug="project_slug",
        number="job",
        derive=lambda row: {"project": row["slug"].split("/")[-1]},
        derived=("project",),
    )
    read = reading({"jobs": [{"project_slug": "gh/a/b", "job": 7}, {"project_slug": "c/d", "job": 8}]})
    assert rows(feed, read) == [
        {"slug": "gh/a/b", "number": 7, "project": "b"},
        {"slug": "c/d", "number": 8, "project": "d"},
    ]
    assert (feed.resources, feed.params) == (("jobs",), ("slug", "number", "project"))


def test_a_union_gives_the_rows_of_each_of_its_feeds():
    feed = Union((From("epics_stories", story_id="id"), From("groups_stories", story_id="id")))
    read = reading({"epics_stories": [{"id": 1}, {"id": 2}], "groups_stories": [{"id": 2}, {"id": 3}]})
    assert rows(feed, read) == [{"story_id": 1}, {"story_id": 2}, {"story_id": 2}, {"story_id": 3}]
    assert (feed.resources, feed.params) == (("epics_stories", "groups_stories"), ("story_id",))


def test_a_join_pairs_rows_of_the_same_workspace_only():
    feed = Join(
        From("environments", environment_id="id", workspace_id="workspace"),
        From("segments", segment_name="name", workspace_id="workspace"),
        on="workspace_id",
    )
    environments = [{"id": "e1", "workspace": 1}, {"id": "e2", "workspace": 2}, {"id": "e3", "workspace": 3}]
    segments = [{"name": "a", "workspace": 1}, {"name": "b", "workspace": 1}, {"name": "a", "workspace": 2}]
    found = rows(feed, reading({"environments": environments, "segments": segments}))
    assert found == [
        {"environment_id": "e1", "segment_name": "a"},
        {"environment_id": "e1", "segment_name": "b"},
        {"environment_id": "e2", "segment_name": "a"},
    ]
    assert (feed.resources, feed.params) == (("environments", "segments"), ("environment_id", "segment_name"))


@pytest.mark.parametrize("slug", ["gh/acme/shop", "acme/shop"])
def test_the_path_of_a_job_comes_from_the_last_two_parts_of_its_project_slug(slug):
    feed = APIS["continuous_integration"].by_name["jobs"].parents
    read = reading({"workflow_jobs": [{"project_slug": slug, "job_number": 12}]})
    assert rows(feed, read) == [{"project_slug": slug, "job_number": 12, "org_id": "acme", "project_id": "shop"}]
