"""The incident response API: incidents, and dashboards over them.

Lists are at ``data`` and page by ``page[number]`` from 1, with 50 rows a page. A record's fields, including the cursor,
may be in ``attributes``.
"""

from functools import partial

from analytics_ingest.apis.model import Api, ChangeProbe, Endpoint, RetryPolicy
from analytics_ingest.apis.paginators import page_number

PAGES = page_number(page_param="page[number]", limit_param="page[size]", limit=50)
UPDATED = ("updated_at", "attributes.updated_at")
TIMESTAMPS = ("created_at", "updated_at", "attributes.created_at", "attributes.updated_at")

endpoint = partial(Endpoint, data_selector="data", paginator=PAGES)
"""An endpoint with the defaults of this API."""
with_cursor = partial(endpoint, cursor_path=UPDATED)
"""An endpoint whose rows have the time of their last change."""

INCIDENT_RESPONSE = Api(
    name="incident_response",
    title="Incident response",
    auth={"type": "bearer"},
    retry=RetryPolicy(max_retries=2, backoff_factor=5, constant=True),
    cron="*/15 * * * *",
    full_refresh_cron="0 2 * * 0",
    probes=(
        ChangeProbe(
            endpoint="incidents",
            concerns=("incidents", "dashboards"),
            blind="edits of incidents that are not on the first page, and of dashboards",
        ),
    ),
    columns={"type": "Kind of record, the same in all rows of a table."},
    endpoints=(
        with_cursor(
            "dashboards",
            "/dashboards",
            timestamps=TIMESTAMPS,
            description="Dashboards over incidents: their owner, period and layout.",
            common_columns=("created_at", "type"),
            columns={
                "attributes": "JSON object with the fields: name, description, owner, range, period and more.",
                "relationships": "JSON object with the ids of related records, such as the panels.",
            },
        ),
        with_cursor(
            "incidents",
            "/incidents",
            timestamps=TIMESTAMPS,
            description="Incidents with severity, status, services concerned and the times of their course.",
            common_columns=("created_at", "type"),
            columns={
                "attributes": "JSON object with the fields: title, status, severity, services, times in UTC and more.",
            },
        ),
    ),
)
