"""The project planning API: stories, epics, iterations, objectives and the people who work on them.

Lists are at ``data`` in one page; only the search of epics pages, by cursor. Stories are listed by epic, by group and
by iteration: comments and history are read for the stories of all three. An epic may belong to several objectives, and
an objective to several categories.
"""

from functools import partial

from analytics_ingest.apis.model import Api, ChangeProbe, Endpoint, RetryPolicy
from analytics_ingest.apis.paginators import SINGLE_PAGE, cursor
from analytics_ingest.apis.parents import FromTable, UnionOf

SEARCH = cursor(cursor_param="next", cursor_path="response.next", fallback_cursor_path="next", limit=1)
UPDATED = ("updated_at",)
COURSE = (
    *("started_at", "started_at_override", "completed_at", "completed_at_override"),
    *("moved_at", "deadline", "planned_start_date"),
)
"""Times in the course of a story, an epic or an objective."""
STORIES = UnionOf(
    (
        FromTable("epics_stories", story_id="id"),
        FromTable("groups_stories", story_id="id"),
        FromTable("iterations_stories", story_id="id"),
    )
)

endpoint = partial(Endpoint, data_selector="data", paginator=SINGLE_PAGE)
"""An endpoint with the defaults of this API."""
with_cursor = partial(endpoint, cursor_path=UPDATED)
"""An endpoint whose rows have the time of their last change."""

PROJECT_PLANNING = Api(
    name="project_planning",
    title="Project planning",
    auth={"type": "api_key", "name": "api_key", "location": "header"},
    retry=RetryPolicy(max_retries=3, backoff_factor=2),
    cron="20 * * * *",
    full_refresh_cron="0 3 * * 0",
    probes=(
        ChangeProbe(
            endpoint="epics",
            concerns=(
                "epics",
                "epics_comments",
                "epics_stories",
                "stories_comments",
                "story_history",
                "search_epics",
            ),
            blind="edits of stories and comments that leave their epic unchanged",
        ),
        ChangeProbe(
            endpoint="iterations",
            concerns=("iterations", "iterations_stories", "stories_comments", "story_history"),
            blind="edits of stories that leave their iteration unchanged, and all beside epics and iterations",
        ),
    ),
    endpoints=(
        with_cursor(
            "categories",
            "/v1/categories",
            description="Categories that group milestones and objectives.",
        ),
        endpoint(
            "categories_milestones",
            "/v1/categories/{category_id}/milestones",
            primary_key=("category_id", "id"),
            parents=FromTable("categories", category_id="id"),
            timestamps_as_sent=COURSE,
            description="The milestones under each category.",
        ),
        endpoint(
            "categories_objectives",
            "/v1/categories/{category_id}/objectives",
            primary_key=("category_id", "id"),
            parents=FromTable("categories", category_id="id"),
            timestamps_as_sent=COURSE,
            description="The objectives under each category.",
        ),
        with_cursor(
            "custom_fields",
            "/v1/custom-fields",
            history=True,
            description="Fields that the organisation added to its stories, with their values.",
        ),
        endpoint(
            "epic_workflow",
            "/v1/epic-workflow",
            history=True,
            description="The workflow that epics go through: its states and their order.",
        ),
        with_cursor(
            "epics",
            "/v1/epics",
            timestamps_as_sent=COURSE,
            history=True,
            unversioned=("stats",),
            description="Epics: larger pieces of work, made of stories.",
        ),
        endpoint(
            "epics_comments",
            "/v1/epics/{epic_id}/comments",
            parents=FromTable("epics", epic_id="id"),
            description="The comments on each epic.",
        ),
        endpoint(
            "epics_stories",
            "/v1/epics/{epic_id}/stories",
            parents=FromTable("epics", epic_id="id"),
            timestamps_as_sent=COURSE,
            description="The stories of each epic.",
        ),
        with_cursor(
            "files",
            "/v1/files",
            description="Files that were uploaded to stories.",
        ),
        with_cursor(
            "groups",
            "/v1/groups",
            description="Groups: the teams that stories are given to.",
        ),
        endpoint(
            "groups_stories",
            "/v1/groups/{group_id}/stories",
            parents=FromTable("groups", group_id="id"),
            timestamps_as_sent=COURSE,
            description="The stories of each group.",
        ),
        with_cursor(
            "iterations",
            "/v1/iterations",
            timestamps_as_sent=("start_date", "end_date"),
            history=True,
            unversioned=("stats",),
            description="Iterations: the time boxes that stories are planned into.",
        ),
        endpoint(
            "iterations_stories",
            "/v1/iterations/{iteration_id}/stories",
            parents=FromTable("iterations", iteration_id="id"),
            timestamps_as_sent=COURSE,
            description="The stories of each iteration.",
        ),
        with_cursor(
            "labels",
            "/v1/labels",
            history=True,
            unversioned=("stats",),
            description="Labels on stories and epics.",
        ),
        endpoint(
            "member",
            "/v1/member",
            description="The member whom the API key belongs to.",
        ),
        with_cursor(
            "members",
            "/v1/members",
            description="Everyone in the organisation, with role and state.",
        ),
        with_cursor(
            "milestones",
            "/v1/milestones",
            timestamps_as_sent=COURSE,
            description="Milestones: dates or goals that epics lead to.",
        ),
        endpoint(
            "milestones_epics",
            "/v1/milestones/{milestone_id}/epics",
            primary_key=("milestone_id", "id"),
            parents=FromTable("milestones", milestone_id="id"),
            timestamps_as_sent=COURSE,
            description="The epics under each milestone.",
        ),
        with_cursor(
            "objectives",
            "/v1/objectives",
            timestamps_as_sent=COURSE,
            history=True,
            unversioned=("stats",),
            description="Objectives that the organisation pursues, with their key results.",
        ),
        endpoint(
            "objectives_epics",
            "/v1/objectives/{objective_id}/epics",
            primary_key=("objective_id", "id"),
            parents=FromTable("objectives", objective_id="id"),
            timestamps_as_sent=COURSE,
            description="The epics under each objective.",
        ),
        with_cursor(
            "workflows",
            "/v1/workflows",
            history=True,
            description="The workflows that stories go through, with their states.",
        ),
        endpoint(
            "stories_comments",
            "/v1/stories/{story_id}/comments",
            parents=STORIES,
            description="The comments on each story, whichever of epic, group or iteration it was found in.",
        ),
        endpoint(
            "story_history",
            "/v1/stories/{story_id}/history",
            primary_key=("story_id", "id"),
            parents=STORIES,
            timestamps_as_sent=("changed_at",),
            description="What happened to each story: every change, who made it and when.",
        ),
        with_cursor(
            "search_epics",
            "/v1/search/epics",
            paginator=SEARCH,
            timestamps_as_sent=COURSE,
            description="All epics as the search finds them.",
        ),
    ),
)
