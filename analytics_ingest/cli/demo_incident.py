"""The end of the demo: an incident of the sandbox, and the deployment and the flag before it, from the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from rich.table import Table
from rich.text import Text

from analytics_ingest.cli.changes_command import utc_time
from analytics_ingest.errors import printable
from analytics_ingest.terminal import symbol

if TYPE_CHECKING:
    from datetime import datetime

    import duckdb

INCIDENT = """
SELECT CAST(attributes ->> 'started_at' AS TIMESTAMPTZ), attributes ->> 'slug',
    attributes -> 'severity' -> 'data' ->> 'slug', attributes ->> 'title'
FROM incident_response.incidents WHERE id = ?"""
FLAG = """
SELECT flag.updated_at, change.name, change.fields -> 'rollout_status' -> 'before' ->> 'name',
    change.fields -> 'rollout_status' -> 'after' ->> 'name'
FROM ingest_meta.changes AS change
JOIN feature_management.feature_flags AS flag ON flag.id = change.key
WHERE change.api = 'feature_management' AND change.endpoint = 'feature_flags' AND change.operation = 'update'
    AND flag.updated_at <= ?
ORDER BY flag.updated_at DESC LIMIT 1"""
"""The last change of a flag before a time. The sandbox's day passes between two syncs, so the view has the time of the
second one: the row itself has the vendor's.
"""
DEPLOYMENT = """
SELECT workflow.stopped_at, workflow.project_slug, workflow.pipeline_number, workflow.name, pipeline.vcs ->> 'branch'
FROM continuous_integration.workflow AS workflow
JOIN continuous_integration.pipelines AS pipeline ON pipeline.id = workflow.pipeline_id
WHERE workflow.name LIKE 'deploy%' AND workflow.status = 'success' AND workflow.stopped_at <= ?
ORDER BY workflow.stopped_at DESC LIMIT 1"""


class IncidentEvent(NamedTuple):
    """A deployment, a change of a flag, or an incident.

    Attributes:
        at: Its time, UTC.
        kind: ``deployment``, ``flag`` or ``incident``.
        text: What happened.
    """

    at: datetime
    kind: str
    text: str


def incident_events(connection: duckdb.DuckDBPyConnection, incident: str) -> list[IncidentEvent]:
    """The last deployment and the last change of a flag before an incident, and the incident; the oldest first.

    Args:
        connection: A connection to the demo's file.
        incident: The incident's id.

    Raises:
        LookupError: The tables lack one of the three.
    """
    started, slug, severity, title = _row(connection, INCIDENT, incident)
    changed, flag, before, after = _row(connection, FLAG, started)
    deployed, project, number, workflow, branch = _row(connection, DEPLOYMENT, started)
    return sorted(
        [
            IncidentEvent(deployed, "deployment", f"{project} #{number}: workflow {workflow}, branch {branch}"),
            IncidentEvent(changed, "flag", f"{flag}: {before} {symbol('→')} {after}"),
            IncidentEvent(started, "incident", f"{slug} ({severity}): {title}"),
        ]
    )


def events_table(events: list[IncidentEvent]) -> Table:
    """A line per event: when, what kind, what happened."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for event in events:
        table.add_row(f"  {utc_time(event.at)}", event.kind, Text(printable(event.text)))
    return table


def _row(connection: duckdb.DuckDBPyConnection, query: str, value: str | datetime) -> tuple[Any, ...]:
    found = connection.execute(query, [value]).fetchone()
    if found is None:
        raise LookupError(query)
    return found
