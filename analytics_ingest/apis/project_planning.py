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

COLUMNS = {
    "description": "What it is about, in the words of its authors; null or empty if they wrote nothing.",
    "entity_type": "Kind of record, such as story or epic; the same in all rows of a table.",
    "archived": "Whether it is hidden from everyday work.",
    "color": "Colour as hexadecimal RGB, such as #ff8800; null if none is set.",
    "mention_name": "Name by which comments mention it, without the @.",
    "stats": "JSON object with counts and averages that the API computes; durations are in seconds.",
    "position": "Place in the list; the lowest number comes first.",
    "state": "Progress: to do, in progress or done.",
    "started": "Whether work has started; true also after it is completed.",
    "completed": "Whether work is completed.",
    "started_at": "When work started, UTC; null before that.",
    "started_at_override": "When work started, UTC, if a person corrected it; else null.",
    "completed_at": "When work was completed, UTC; null before that.",
    "completed_at_override": "When work was completed, UTC, if a person corrected it; else null.",
    "moved_at": "When it last went to another state, UTC; null if never.",
    "deadline": "When it is due, UTC; null if no date is set.",
    "planned_start_date": "When work is planned to start, UTC; null if no date is set.",
    "epic_id": "The id in epics of its epic; null if it has none.",
    "group_id": "The id in groups of the team that it is given to; null if none.",
    "iteration_id": "The id in iterations of the time box that it is planned into; null if none.",
    "workflow_state_id": "The id of its state, one of the states of a row of workflows.",
    "story_type": "Kind of work: feature, bug or chore.",
    "estimate": "Points that the work is estimated at; null if it has no estimate.",
    "cycle_time": "Seconds from start to completion; null before completion.",
    "owner_ids": "JSON list of the ids in members of those who do the work.",
    "requested_by_id": "Id of the requester in members.",
    "objective_ids": "JSON list of the ids in objectives that it serves.",
    "milestone_ids": "JSON list of the ids in milestones that it leads to.",
    "categories": "JSON list of the categories that it is under, each with id and name.",
    "labels": "JSON list of its labels, each with its name.",
    "custom_fields": "JSON list of the values that it has in custom_fields.",
    "author_id": "The id in members of the author.",
    "text": "What the author wrote.",
    "deleted": "Whether the comment was deleted; it stays in the list.",
    "parent_id": "The id of the comment that it replies to; null if it starts a thread.",
    "mention_ids": "JSON list of the ids in members and groups that it mentions.",
    "reactions": "JSON list of emojis, each with those who reacted with it.",
}
"""Columns that mean the same in every table that has them."""

STORY = (
    *("name", "created_at", "updated_at", "description", "entity_type", "archived", "stats", "started", "completed"),
    *("epic_id", "group_id", "iteration_id", "workflow_state_id", "story_type", "estimate", "cycle_time"),
    *("owner_ids", "requested_by_id", "labels", "custom_fields"),
)
"""Columns of a story beside its times."""
EPIC = (
    *("name", "created_at", "updated_at", "description", "entity_type", "archived", "stats", "state", "started"),
    *("completed", "owner_ids", "requested_by_id", "objective_ids", "milestone_ids", "labels"),
)
"""Columns of an epic beside its times."""
OBJECTIVE = (
    *("name", "created_at", "updated_at", "description", "entity_type", "archived", "position", "state"),
    "categories",
)
"""Columns of an objective or a milestone beside its times."""
COMMENT = ("created_at", "updated_at", "author_id", "text", "deleted", "parent_id", "mention_ids", "reactions")

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
    columns=COLUMNS,
    endpoints=(
        with_cursor(
            "categories",
            "/v1/categories",
            description="Categories that group milestones and objectives.",
            common_columns=("name", "created_at", "archived", "color"),
            columns={
                "type": "Kind of record that it groups, such as milestone.",
                "external_id": "Identifier in the system that it was imported from; null if it was not imported.",
            },
        ),
        endpoint(
            "categories_milestones",
            "/v1/categories/{category_id}/milestones",
            primary_key=("category_id", "id"),
            parents=FromTable("categories", category_id="id"),
            timestamps_as_sent=COURSE,
            description="The milestones under each category.",
            common_columns=OBJECTIVE,
            columns={"id": "Identifier of the milestone; one of several categories has a row for each."},
        ),
        endpoint(
            "categories_objectives",
            "/v1/categories/{category_id}/objectives",
            primary_key=("category_id", "id"),
            parents=FromTable("categories", category_id="id"),
            timestamps_as_sent=COURSE,
            description="The objectives under each category.",
            common_columns=OBJECTIVE,
            columns={"id": "Identifier of the objective; one of several categories has a row for each."},
        ),
        with_cursor(
            "custom_fields",
            "/v1/custom-fields",
            history=True,
            description="Fields that the organisation added to its stories, with their values.",
            common_columns=("name", "created_at"),
            columns={
                "field_type": "Kind of the values; enum is a choice from a list.",
                "enabled": "Whether stories can have the field at present.",
                "values": "JSON list of the possible values, each with id and position.",
            },
        ),
        endpoint(
            "epic_workflow",
            "/v1/epic-workflow",
            history=True,
            description="The workflow that epics go through: its states and their order.",
            common_columns=("created_at", "updated_at", "entity_type"),
            columns={
                "default_epic_state_id": "The id of the state that new epics get, one of epic_states.",
                "epic_states": "JSON list of the states, each with id, name and position.",
            },
        ),
        with_cursor(
            "epics",
            "/v1/epics",
            timestamps_as_sent=COURSE,
            history=True,
            unversioned=("stats",),
            description="Epics: larger pieces of work, made of stories.",
            common_columns=EPIC,
        ),
        endpoint(
            "epics_comments",
            "/v1/epics/{epic_id}/comments",
            parents=FromTable("epics", epic_id="id"),
            description="The comments on each epic.",
            common_columns=COMMENT,
        ),
        endpoint(
            "epics_stories",
            "/v1/epics/{epic_id}/stories",
            parents=FromTable("epics", epic_id="id"),
            timestamps_as_sent=COURSE,
            description="The stories of each epic.",
            common_columns=STORY,
        ),
        with_cursor(
            "files",
            "/v1/files",
            description="Files that were uploaded to stories.",
            common_columns=("created_at", "description"),
            columns={
                "name": "Name that people see, at first that of the uploaded file.",
                "filename": "Name under which the file is stored.",
                "content_type": "Media type, such as image/png.",
                "size": "Size in bytes.",
                "story_ids": "JSON list of the ids of the stories that it is attached to.",
                "uploader_id": "The id in members of the person who uploaded it.",
            },
        ),
        with_cursor(
            "groups",
            "/v1/groups",
            description="Groups: the teams that stories are given to.",
            common_columns=("name", "created_at", "description", "archived", "color", "mention_name"),
            columns={
                "member_ids": "JSON list of the ids in members of those in the team.",
                "workflow_ids": "JSON list of the ids in workflows that the team uses.",
            },
        ),
        endpoint(
            "groups_stories",
            "/v1/groups/{group_id}/stories",
            parents=FromTable("groups", group_id="id"),
            timestamps_as_sent=COURSE,
            description="The stories of each group.",
            common_columns=STORY,
        ),
        with_cursor(
            "iterations",
            "/v1/iterations",
            timestamps_as_sent=("start_date", "end_date"),
            history=True,
            unversioned=("stats",),
            description="Iterations: the time boxes that stories are planned into.",
            common_columns=("name", "created_at", "entity_type"),
            columns={
                "status": "Progress: unstarted, started or done.",
                "start_date": "First day, YYYY-MM-DD.",
                "end_date": "Last day, included, YYYY-MM-DD.",
                "group_ids": "JSON list of the ids in groups of the teams that it is for; it may be empty.",
            },
        ),
        endpoint(
            "iterations_stories",
            "/v1/iterations/{iteration_id}/stories",
            parents=FromTable("iterations", iteration_id="id"),
            timestamps_as_sent=COURSE,
            description="The stories of each iteration.",
            common_columns=STORY,
        ),
        with_cursor(
            "labels",
            "/v1/labels",
            history=True,
            unversioned=("stats",),
            description="Labels on stories and epics.",
            common_columns=("name", "created_at", "archived", "color"),
        ),
        endpoint(
            "member",
            "/v1/member",
            description="The member whom the API key belongs to.",
            common_columns=("name", "mention_name"),
            columns={
                "id": "Identifier of the member, as in members.",
                "workspace2": "JSON object with the organisation's address and scale of estimates.",
            },
        ),
        with_cursor(
            "members",
            "/v1/members",
            description="Everyone in the organisation, with role and state.",
            common_columns=("created_at",),
            columns={
                "role": "What the member may do, such as admin, member or observer.",
                "state": "How far the member is set up, such as full or partial.",
                "disabled": "Whether access has been taken away.",
                "profile": "JSON object with name, email address and mention name.",
                "group_ids": "JSON list of the ids in groups of the member's teams.",
            },
        ),
        with_cursor(
            "milestones",
            "/v1/milestones",
            timestamps_as_sent=COURSE,
            description="Milestones: dates or goals that epics lead to.",
            common_columns=OBJECTIVE,
        ),
        endpoint(
            "milestones_epics",
            "/v1/milestones/{milestone_id}/epics",
            primary_key=("milestone_id", "id"),
            parents=FromTable("milestones", milestone_id="id"),
            timestamps_as_sent=COURSE,
            description="The epics under each milestone.",
            common_columns=EPIC,
            columns={"id": "Identifier of the epic; one of several milestones has a row for each."},
        ),
        with_cursor(
            "objectives",
            "/v1/objectives",
            timestamps_as_sent=COURSE,
            history=True,
            unversioned=("stats",),
            description="Objectives that the organisation pursues, with their key results.",
            common_columns=OBJECTIVE,
        ),
        endpoint(
            "objectives_epics",
            "/v1/objectives/{objective_id}/epics",
            primary_key=("objective_id", "id"),
            parents=FromTable("objectives", objective_id="id"),
            timestamps_as_sent=COURSE,
            description="The epics under each objective.",
            common_columns=EPIC,
            columns={"id": "Identifier of the epic; one of several objectives has a row for each."},
        ),
        with_cursor(
            "workflows",
            "/v1/workflows",
            history=True,
            description="The workflows that stories go through, with their states.",
            common_columns=("name", "created_at", "description"),
            columns={
                "states": "JSON list of the states, each with id, name, type and position.",
                "default_state_id": "The id of the state that new stories get, one of states.",
                "auto_assign_owner": "Whether those who start a story become its owners.",
            },
        ),
        endpoint(
            "stories_comments",
            "/v1/stories/{story_id}/comments",
            parents=STORIES,
            description="The comments on each story, whichever of epic, group or iteration it was found in.",
            common_columns=COMMENT,
        ),
        endpoint(
            "story_history",
            "/v1/stories/{story_id}/history",
            primary_key=("story_id", "id"),
            parents=STORIES,
            timestamps_as_sent=("changed_at",),
            description="What happened to each story: every change, who made it and when.",
            columns={
                "id": "Identifier of the change; a change of several stories has a row for each.",
                "version": "Version of the format of the entry, such as v1.",
                "changed_at": "When the change was made, UTC.",
                "member_id": "The id in members of the person who made the change.",
                "actions": "JSON list of what was done: the record, the action, and old and new values.",
                "references": "JSON list of the records that the actions name by id.",
            },
        ),
        with_cursor(
            "search_epics",
            "/v1/search/epics",
            paginator=SEARCH,
            timestamps_as_sent=COURSE,
            description="All epics as the search finds them.",
            common_columns=EPIC,
        ),
    ),
)
