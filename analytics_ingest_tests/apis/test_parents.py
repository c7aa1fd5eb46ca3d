"""Parent sources: the partitions that a child is requested for, as exact rows."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from analytics_ingest.apis.model import Endpoint
from analytics_ingest.apis.paginators import SINGLE_PAGE
from analytics_ingest.apis.parents import (
    ALWAYS,
    COVERED,
    ENDED,
    VERSION,
    Constants,
    DateRange,
    DateWindow,
    EachDay,
    FromExpanded,
    FromRenamed,
    FromTable,
    JoinOf,
    ParentVersion,
    UnionOf,
    as_list,
)
from analytics_ingest.apis.registry import APIS
from analytics_ingest.extract.fan_out import plan_fan_out
from analytics_ingest.extract.partitions import Partition

OLD, YOUNG = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 9, tzinfo=UTC)


def reading(tables):
    """Reads columns of tables that are given as lists of dictionaries."""

    def read(resource, columns):
        return [tuple(row.get(name) for name in columns) for row in tables[resource]]

    return read


def rows(source, read, window=None):
    found = source.rows(read, window or DateWindow())
    return [{name: value for name, value in row.items() if name != VERSION} for row in found]


def test_from_renames_columns_and_adds_what_it_derives():
    source = FromTable(
        "jobs",
        slug="project_slug",
        number="job",
        derive=lambda row: {"project": row["slug"].split("/")[-1]},
        derived=("project",),
    )
    read = reading({"jobs": [{"project_slug": "gh/a/b", "job": 7}, {"project_slug": "c/d", "job": 8}]})
    assert rows(source, read) == [
        {"slug": "gh/a/b", "number": 7, "project": "b"},
        {"slug": "c/d", "number": 8, "project": "d"},
    ]
    assert (source.resources, source.params) == (("jobs",), ("slug", "number", "project"))


def test_a_union_gives_the_rows_of_each_of_its_sources():
    source = UnionOf((FromTable("epics_stories", story_id="id"), FromTable("groups_stories", story_id="id")))
    read = reading({"epics_stories": [{"id": 1}, {"id": 2}], "groups_stories": [{"id": 2}, {"id": 3}]})
    assert rows(source, read) == [{"story_id": 1}, {"story_id": 2}, {"story_id": 2}, {"story_id": 3}]
    assert (source.resources, source.params) == (("epics_stories", "groups_stories"), ("story_id",))


def test_a_join_pairs_rows_of_the_same_workspace_only():
    source = JoinOf(
        FromTable("environments", environment_id="id", workspace_id="workspace"),
        FromTable("segments", segment_name="name", workspace_id="workspace"),
        on="workspace_id",
    )
    environments = [{"id": "e1", "workspace": 1}, {"id": "e2", "workspace": 2}, {"id": "e3", "workspace": 3}]
    segments = [{"name": "a", "workspace": 1}, {"name": "b", "workspace": 1}, {"name": "a", "workspace": 2}]
    found = rows(source, reading({"environments": environments, "segments": segments}))
    assert found == [
        {"environment_id": "e1", "segment_name": "a"},
        {"environment_id": "e1", "segment_name": "b"},
        {"environment_id": "e2", "segment_name": "a"},
    ]
    assert (source.resources, source.params) == (("environments", "segments"), ("environment_id", "segment_name"))


@pytest.mark.parametrize("slug", ["gh/acme/shop", "acme/shop"])
def test_the_path_of_a_job_comes_from_the_last_two_parts_of_its_project_slug(slug):
    source = APIS["continuous_integration"].by_name["jobs"].parents
    read = reading({"workflow_jobs": [{"project_slug": slug, "job_number": 12}]})
    assert rows(source, read) == [{"project_slug": slug, "job_number": 12, "org_id": "acme", "project_id": "shop"}]


def test_names_with_an_underscore_are_for_deriving_alone():
    source = FromTable("projects", _url="url", derive=lambda row: {"slug": row["_url"][-3:]}, derived=("slug",))
    assert rows(source, reading({"projects": [{"url": "https://a/b"}]})) == [{"slug": "a/b"}]
    assert source.params == ("slug",)


def test_a_parent_source_may_leave_rows_out():
    source = FromTable("segments", segment_id="id", where=("type", frozenset({"id_list"})))
    segments = [{"id": 1, "type": "id_list"}, {"id": 2, "type": "rule_based"}, {"id": 3, "type": None}, {"id": 4}]
    assert rows(source, reading({"segments": segments})) == [{"segment_id": 1}]


@pytest.mark.parametrize(
    ("status", "created_at", "settled"),
    [
        ("ended", OLD, True),
        ("ended", OLD.replace(tzinfo=None), True),
        ("ended", YOUNG, False),
        ("ended", None, False),
        ("runs", OLD, False),
        (None, OLD, False),
    ],
)
def test_a_parent_settles_by_its_state_and_its_age(status, created_at, settled):
    source = FromTable("runs", run_id="id", settled=("status", frozenset({"ended"})), settled_after="created_at")
    table = reading({"runs": [{"id": 1, "status": status, "created_at": created_at}]})
    window = DateWindow(settled_before=datetime(2026, 1, 8, tzinfo=UTC))
    assert [row[VERSION].settled for row in source.rows(table, window)] == [settled]
    assert [row[VERSION].settled for row in source.rows(table, DateWindow())] == [False]


def test_the_version_may_come_from_another_column():
    source = FromTable("gates", gate_id="id", updated="modified")
    table = reading({"gates": [{"id": 1, "modified": OLD, "updated_at": YOUNG, "_dlt_load_id": "12.5"}]})
    assert [row[VERSION] for row in source.rows(table, DateWindow())] == [ParentVersion(OLD, 12.5, settled=False)]


EXPANDED = FromExpanded(
    resource="gates",
    columns={"gate_id": "id"},
    reads=("rules", "modified"),
    expand=lambda gate: [{"rule_id": rule, ENDED: gate["modified"]} for rule in as_list(gate["rules"])],
    added=("rule_id",),
)


def test_a_row_expands_to_any_number_of_partitions():
    gates = [
        {"id": "a", "rules": ["r1", "r2"]},
        {"id": "b", "rules": '["r1"]'},
        {"id": "c", "rules": None},
        {"id": "d"},
    ]
    assert rows(EXPANDED, reading({"gates": gates})) == [
        {"gate_id": "a", "rule_id": "r1"},
        {"gate_id": "a", "rule_id": "r2"},
        {"gate_id": "b", "rule_id": "r1"},
    ]
    assert (EXPANDED.resources, EXPANDED.params) == (("gates",), ("gate_id", "rule_id"))
    assert (EXPANDED.columns_of("gates"), EXPANDED.columns_of("events")) == ({"gate_id": "id"}, {})


@pytest.mark.parametrize(
    ("ended", "version"),
    [
        (None, ParentVersion(None, 12.5, settled=False)),
        (YOUNG, ParentVersion(None, 12.5, settled=False)),
        (OLD, ParentVersion(None, datetime(2026, 1, 8, tzinfo=UTC).timestamp(), settled=True)),
        (
            OLD.replace(tzinfo=None, hour=23),
            ParentVersion(None, datetime(2026, 1, 8, tzinfo=UTC).timestamp(), settled=True),
        ),
    ],
)
def test_a_partition_that_has_ended_settles_after_the_days_of_the_window(ended, version):
    table = reading({"gates": [{"id": "a", "rules": ["r1"], "modified": ended, "_dlt_load_id": "12.5"}]})
    window = DateWindow(
        recent_day=date(2026, 1, 4), today=date(2026, 1, 10), settled_before=datetime(2026, 1, 4, tzinfo=UTC)
    )
    assert [row[VERSION] for row in EXPANDED.rows(table, window)] == [version]
    assert [row[VERSION].settled for row in EXPANDED.rows(table, DateWindow())] == [False]


def test_a_partition_that_has_settled_is_requested_once_more_whenever_that_was_and_not_for_its_parents_row():
    endpoint = Endpoint(
        "rules", "/gates/{gate_id}/{rule_id}", "$", SINGLE_PAGE, parents=EXPANDED, description="For this test."
    )
    gate = {"id": "a", "rules": ["r1"], "modified": OLD}
    state: dict[str, object] = {}

    def requested(now):
        gate["_dlt_load_id"] = str((now - timedelta(minutes=5)).timestamp())
        window = DateWindow(
            recent_day=now.date() - timedelta(days=6),
            today=now.date(),
            settled_before=datetime(now.year, now.month, now.day, tzinfo=UTC) - timedelta(days=6),
        )
        read = EXPANDED.rows(reading({"gates": [gate]}), window)
        partitions = [Partition(path=row["rule_id"], params=row, version=row.pop(VERSION)) for row in read]
        plan = plan_fan_out(endpoint, partitions, state, mode="changed", now=now, resume_within=3600)
        for each in plan.partitions:
            plan.record_progress(state, each.path)
        plan.record_end(state)
        return len(plan.partitions)

    hours = [OLD + timedelta(days=day, hours=hour) for day in range(1, 12) for hour in (1, 12)]
    # ended on the first, so settled from the eighth on
    assert [requested(now) for now in hours] == [1] * 13 + [0] * 9
    gate["modified"] = OLD + timedelta(days=12)
    assert [requested(OLD + timedelta(days=day)) for day in (12, 13, 40, 41)] == [1, 1, 1, 0]


def test_constants_come_from_a_setting_or_the_declaration_or_a_table():
    table = reading({"orgs": [{"slug": "gh/a"}]})
    declared = Constants(name="status", values=("OPEN", "DONE"))
    assert rows(declared, table) == [{"status": "OPEN"}, {"status": "DONE"}]
    source = Constants(name="org", setting="org_slugs", fallback=FromTable("orgs", org="slug"))
    assert rows(source, table) == [{"org": "gh/a"}]
    assert rows(source, table, DateWindow(options={"org_slugs": ("gh/b",)})) == [{"org": "gh/b"}]
    assert (source.resources, declared.resources, source.params) == (("orgs",), (), ("org",))


def test_days_are_those_of_the_window_and_a_date_range_those_of_each_sync():
    window = DateWindow(
        first_day=date(2026, 2, 27), last_day=date(2026, 3, 1), recent_day=date(2026, 2, 23), today=date(2026, 3, 1)
    )
    assert rows(EachDay("date"), None, window) == [
        {"date": "2026-03-01"},
        {"date": "2026-02-28"},
        {"date": "2026-02-27"},
    ]
    assert rows(DateRange("begin", "end"), None, window) == [{"begin": "2026-02-23", "end": "2026-03-01"}]
    assert (EachDay("date").open_ended, DateRange("begin", "end").open_ended) == (True, False)


@pytest.mark.parametrize(
    ("stored", "moment"),
    [
        (YOUNG, YOUNG),
        ("2026-01-09T00:00:00+00:00", YOUNG),
        ("2026-01-09T00:00:00Z", YOUNG),
        ("soon", None),
        ("2026-01-09T00:00:00", None),
        (None, None),
    ],
)
def test_a_column_of_times_that_became_text_still_has_a_parents_version(stored, moment):
    source = FromTable("jobs", job="id", settled_after="updated_at")
    read = reading({"jobs": [{"id": 1, "updated_at": stored, "_dlt_load_id": "5.5"}]})
    (row,) = source.rows(read, DateWindow(settled_before=datetime(2026, 1, 10, tzinfo=UTC)))
    assert row[VERSION] == ParentVersion(moment, 5.5, settled=moment is not None)


SHOPS = FromRenamed(
    source=FromTable("projects", slug="slug"),
    param="slug",
    identify=lambda _: None,
    table="records",
    name="name",
    includes_named=True,
    group=("organisation", "org_slugs"),
    covered_by=("pipelines", "project"),
)
RECORDS = [
    {"id": 1, "name": "a/x", "organisation": "a", "_deleted_at": None},
    {"id": 2, "name": "b/y", "organisation": "b", "_deleted_at": None},
    {"id": 3, "name": "a/gone", "organisation": "a", "_deleted_at": OLD},
]
TABLES = {"projects": [{"slug": "c/z"}], "records": RECORDS, "pipelines": [{"project": "b/y"}, {"project": None}]}


def test_parents_may_be_those_that_the_table_of_names_holds_and_some_are_covered_by_other_lists():
    found = rows(SHOPS, reading(TABLES))

    assert found == [{"slug": "c/z"}, {"slug": "a/x"}, {"slug": "b/y", "_covered": True}]
    assert (SHOPS.resources, SHOPS.lookups, SHOPS.settings) == (("projects",), ("records", "pipelines"), ("org_slugs",))


def test_a_setting_limits_the_parents_that_only_the_table_of_names_holds():
    window = DateWindow(options={"org_slugs": ("a",)})

    assert [row["slug"] for row in SHOPS.rows(reading(TABLES), window)] == ["c/z", "a/x"]


def test_lists_that_a_setting_leaves_out_cover_no_parent():
    window = DateWindow(skipped=frozenset({"pipelines"}))

    assert [COVERED in row for row in SHOPS.rows(reading(TABLES), window)] == [False] * 3


def test_parents_that_always_count_as_settled():
    source = FromTable("runs", run_id="id", settled=ALWAYS)
    (row,) = source.rows(reading({"runs": [{"id": 1}]}), DateWindow())

    assert source.can_settle
    assert row[VERSION].settled
