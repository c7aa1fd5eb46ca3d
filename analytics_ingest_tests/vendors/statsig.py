"""Statsig's Console API as a local server: numbered pages, answers without ``pagination``, days, two shapes."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, ClassVar

from analytics_ingest_tests.fake_server import Asked, Response
from analytics_ingest_tests.vendors.server import Route, Rows, Vendor, cut
from analytics_ingest_tests.vendors.statsig_rows import (
    LATER_MS,
    app,
    entry,
    event_metric,
    experiment,
    experiment_overrides,
    exposed,
    first_rows,
    gate_overrides,
    listed,
    result,
    results,
    rule,
    source,
    status,
    team,
    value,
    version,
)

PAGED = frozenset({"page", "limit"})
LOG = frozenset({"startDate", "endDate", "latestID", "sortKey", "sortOrder", "actionType", "actionTypes"})
SILENT = frozenset({"dynamic_configs", "segments", "tags", "target_apps"})
"""Lists whose answers lack ``pagination``; those of ids lack it too."""
PARENTS = {
    "dynamic_configs_versions": ("dynamic_configs", "id"),
    "dynamic_configs_rules": ("dynamic_configs", "id"),
    "events_metrics": ("events", "name"),
    "gates_rules": ("gates", "id"),
    "segments_ids": ("segments", "id"),
    "experiments_pulse_results": ("experiments", "id"),
    "experiments_cumulative_exposures": ("experiments", "id"),
    "gates_rules_pulse_results": ("gates", "id"),
    "holdouts_pulse_results": ("holdouts", "id"),
    "experiments_overrides": ("experiments", "id"),
    "gates_overrides": ("gates", "id"),
    "gates_versions": ("gates", "id"),
}
STATISTICS = frozenset({"cuped", "confidence"})
CORRECTIONS = frozenset(
    {"applyBonferroniPerVariant", "applyBonferroniPerMetric", "bonferroniPrimaryMetricWeight"}
    | {"applyBenjaminiHochbergPerMetric", "applyBenjaminiHochbergPerVariant", "date"}
)
LISTS = {
    "primary": "primaryMetrics",
    "secondary": "secondaryMetrics",
    "other": "otherMetrics",
    "monitoring": "monitoringMetrics",
}
"""The list of a result that the metrics of a role are in."""
OF_THE_EXAMPLE = {
    "value": "absoluteChange",
    "confidence_interval_delta": "confidenceIntervalDelta",
    "test_units": "testUnits",
    "p_value": "pValue",
}
"""By name in the example of a result its name in the schema."""


class Statsig(Vendor):
    """One project, whose days with values end today.

    Attributes:
        largest: The largest page that is given, whatever is asked for.
        today: The day of the newest values, UTC.
    """

    profile = "statsig"
    prefix = "/console/v1"
    ROUTES = (
        Route("audit_logs", r"/audit_logs", PAGED | LOG),
        Route("autotunes", r"/autotunes", PAGED),
        Route("dynamic_configs", r"/dynamic_configs", PAGED),
        Route("dynamic_configs_versions", r"/dynamic_configs/([^/]+)/versions", PAGED),
        Route("dynamic_configs_rules", r"/dynamic_configs/([^/]+)/rules"),
        Route("events", r"/events", PAGED),
        Route("events_metrics", r"/events/([^/]+)/metrics", PAGED),
        Route("experiments", r"/experiments", PAGED | {"createdStartDate", "createdEndDate"}),
        Route("experiments_cumulative_exposures", r"/experiments/([^/]+)/cumulative_exposures"),
        Route(
            "experiments_pulse_results",
            r"/experiments/([^/]+)/pulse_results",
            STATISTICS | CORRECTIONS,
            frozenset({"control", "test"}),
        ),
        Route("gates", r"/gates", PAGED),
        Route("gates_rules", r"/gates/([^/]+)/rules"),
        Route("experiments_overrides", r"/experiments/([^/]+)/overrides"),
        Route("gates_overrides", r"/gates/([^/]+)/overrides"),
        Route("gates_versions", r"/gates/([^/]+)/versions", PAGED),
        Route("gates_rules_pulse_results", r"/gates/([^/]+)/rules/([^/]+)/pulse_results", STATISTICS),
        Route("holdouts", r"/holdouts", PAGED),
        Route("holdouts_pulse_results", r"/holdouts/([^/]+)/pulse_results", STATISTICS),
        Route("ingestion_status", r"/ingestion/status", frozenset(), frozenset({"startDate", "endDate"})),
        Route("ingestion_runs", r"/ingestion/runs", frozenset({"page"})),
        Route("layers", r"/layers", PAGED),
        Route("metrics", r"/metrics/list", PAGED | {"showHiddenMetrics"}),
        Route("metric_sources", r"/metrics/metric_source/list", PAGED),
        Route("metrics_values", r"/metrics/values", PAGED, frozenset({"date"})),
        Route("segments", r"/segments", PAGED),
        Route("segments_ids", r"/segments/([^/]+)/id_list", PAGED),
        Route("tags", r"/tags", PAGED),
        Route("target_apps", r"/target_app", PAGED),
        Route("teams", r"/users/teams", PAGED),
        Route("users", r"/users", PAGED),
    )
    PARAMS: ClassVar[dict[str, tuple[str, ...]]] = {
        "dynamic_configs_versions": ("dynamic_config_id",),
        "dynamic_configs_rules": ("dynamic_config_id",),
        "events_metrics": ("event_name",),
        "experiments_cumulative_exposures": ("experiment_id",),
        "experiments_overrides": ("experiment_id",),
        "gates_overrides": ("gate_id",),
        "gates_versions": ("gate_id",),
        "experiments_pulse_results": ("experiment_id", "control_group_id", "test_group_id"),
        "gates_rules": ("gate_id",),
        "gates_rules_pulse_results": ("gate_id", "rule_id"),
        "holdouts_pulse_results": ("holdout_id",),
        "metrics_values": ("date",),
        "segments_ids": ("segment_id",),
    }
    UNPAGED = frozenset(
        {"dynamic_configs_rules", "gates_rules", "ingestion_status", "experiments_cumulative_exposures"}
        | {
            "experiments_overrides",
            "gates_overrides",
            "experiments_pulse_results",
            "gates_rules_pulse_results",
            "holdouts_pulse_results",
        }
    )
    LIMITS: ClassVar[dict[str, int]] = {
        "autotunes": 3,
        "dynamic_configs": 5,
        "events": 20,
        "events_metrics": 4,
        "gates": 10,
        "gates_versions": 5,
        "holdouts": 3,
        "layers": 3,
        "metric_sources": 4,
        "metrics_values": 20,
        "segments": 10,
        "target_apps": 4,
        "teams": 4,
    }
    largest = 100

    def fill(self) -> None:
        self.today = datetime.now(UTC).date()
        self.store.update(first_rows(self.today))

    def advance(self) -> None:
        now = int(time.time() * 1000)
        self.rows("audit_logs").append(entry(130))
        self.advance_gates(now)
        self.change("dynamic_configs", 2)
        self.rows("dynamic_configs_versions", "config-2").append(version("config-2", 9))
        self.rows("dynamic_configs_rules", "config-2").append(rule(8))
        self.rows("events").append({"name": "quite / new", "timestamp": str(LATER_MS)})
        self.rows("events_metrics", "quite / new").append(event_metric("quite / new", 0))
        self.rows("events_metrics", "page/view")[1]["type"] = "event_user"
        for name in ("autotunes", "holdouts", "layers", "metrics"):
            self.change(name, 1)
        self.rows("holdouts_pulse_results", "holdout-1").append(result("monitoring", 7))
        self.advance_experiments(now)
        self.rows("ingestion_runs")[4].update(latestStatus="error", lastUpdatedAt="2026-10-14T03:47:00.000Z")
        self.rows("ingestion_status").append(status(self.today, 7))
        values = self.rows("metrics_values", str(self.today))
        values[2]["numerator"] = 1_000_000
        del values[5]
        values.append(value(45))
        self.remove("segments", 12, "segments_ids")
        self.rows("segments").append({"id": "segment-26", "name": "new", "type": "id_list"})
        self.rows("segments_ids", "segment-26").append(listed(0))
        del self.rows("segments_ids", "segment-0")[120:123]
        self.rows("segments_ids", "segment-3").append(listed(100))
        self.rows("tags")[129]["name"] = "another name"
        self.rows("target_apps").append(app(9))
        self.rows("users")[6]["role"] = "Admin"
        self.remove("users", 8)
        for name, row in (("teams", team(10)), ("metric_sources", source(9))):
            rows = self.rows(name)
            del rows[2]
            rows[4]["description"] = "another description"
            rows.append(row)

    def advance_gates(self, now: int) -> None:
        """Changes gates, their rules, versions, overrides and results."""
        self.change("gates", 3)
        changed = self.rows("gates")[3]
        changed["lastModifiedTime"] = now
        self.rows("gates_rules", "gate-3")[0]["passPercentage"] = 55
        self.rows("gates_versions", "gate-3").append({**changed, "version": 3})
        self.rows("gates_overrides", "gate-3")[0]["failingUserIDs"] = ["user-9"]
        self.rows("gates_rules_pulse_results", "gate-3", "rule-2")[0].update(pValue=0.5, ds="2026-10-02")
        self.rows("gates_rules", "gate-4").pop()
        self.store["gates_rules_pulse_results"].pop(("gate-4", "rule-3"))
        self.remove("gates", 7, "gates_rules", "gates_versions", "gates_overrides")
        for n in range(2):
            self.store["gates_rules_pulse_results"].pop(("gate-7", f"rule-{n}"))
        self.rows("gates").append({"id": "gate-20", "name": "a new one", "createdTime": now})
        self.rows("gates_rules", "gate-20").append(rule(0))
        self.rows("gates_versions", "gate-20").append({"id": "gate-20", "version": 1, "createdTime": now})
        self.rows("gates_overrides", "gate-20").append(gate_overrides(2))
        self.rows("gates_rules_pulse_results", "gate-20", "rule-0").append(result("monitoring", 3))

    def advance_experiments(self, now: int) -> None:
        """Changes experiments, their overrides, results and exposures."""
        self.rows("experiments").append({**experiment(205), "createdTime": now, "lastModifiedTime": None})
        self.rows("experiments_overrides", "experiment-205").append(experiment_overrides(205))
        self.rows("experiments_pulse_results", "experiment-205", "group-205-0", "group-205-1").extend(results(2))
        # nothing of the experiment shows that it has new results
        running = self.rows("experiments_pulse_results", "experiment-7", "group-7-0", "group-7-1")
        del running[1]
        running.append(result("secondary", 9))
        for row in running:
            row.update(pValue=0.015625, ds="2026-10-02")
        for n in range(2):
            self.rows("experiments_cumulative_exposures", "experiment-7").append(exposed(7, n, 3))
        self.remove("experiments", 11, "experiments_overrides")
        self.change("experiments", 1)
        self.rows("experiments")[1]["lastModifiedTime"] = now
        self.rows("experiments_overrides", "experiment-1")[0]["overrides"] = []

    def change(self, endpoint: str, number: int) -> None:
        """Changes a row as the vendor notes it: later than any other was changed."""
        self.rows(endpoint)[number].update(name="another name", lastModifiedTime=LATER_MS)

    def remove(self, endpoint: str, number: int, *children: str) -> None:
        """Removes a row, and what hangs on it."""
        gone = self.rows(endpoint).pop(number)
        for child in children:
            self.store[child].pop((gone["id"],))

    def authorised(self, asked: Asked) -> bool:
        return asked.headers.get("STATSIG-API-KEY") == self.KEY

    def error(self, status: int) -> Response:
        """The error; 429 comes with no header that says how long it holds."""
        words = {400: "Invalid request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}
        return Response(status=status, body={"status": status, "message": words[status]})

    def sent(self, endpoint: str, row: dict[str, Any]) -> Rows:
        if endpoint in ("target_apps", "teams"):
            return [{"id": row["name"], **row}]
        if endpoint == "gates":
            return [{**row, "rules": copy.deepcopy(self.rows("gates_rules", row["id"]))}]
        if endpoint == "experiments_pulse_results":
            return [{OF_THE_EXAMPLE.get(name, name): value for name, value in row.items()}]
        return [row]

    def answer(self, route: Route, parts: tuple[str, ...], asked: Asked) -> Response:
        name, query = route.endpoint, asked.query
        days = [query[each] for each in ("date", "startDate", "endDate") if each in query]
        if wrong := [day for day in days if not is_day(day)]:
            self.complaints.append(f"{asked.path}: no days: {wrong}")
            return self.error(400)
        if name in PARENTS and not self.is_there(name, parts[0]):
            return self.error(404)
        if name in self.UNPAGED - {"ingestion_status"}:
            return self.whole(name, parts, query)
        rows = self.rows(name, *((query["date"],) if name == "metrics_values" else parts))
        if name == "ingestion_status":
            return Response(body=[row for row in rows if query["startDate"] <= row["ds"][:10] <= query["endDate"]])
        if name == "audit_logs" and "startDate" in query:
            rows = [row for row in rows if logged_on(row) >= query["startDate"]]
        if name == "metrics" and query.get("showHiddenMetrics") != "true":
            rows = [row for row in rows if not row["isHidden"]]
        return self.page(name, rows, asked)

    def is_there(self, name: str, key: str) -> bool:
        """Whether a parent is there; a segment that is no list of ids has none."""
        parent, field = PARENTS[name]
        return any(
            row[field] == key and (name != "segments_ids" or row["type"] == "id_list") for row in self.rows(parent)
        )

    def whole(self, name: str, parts: tuple[str, ...], query: Mapping[str, str]) -> Response:
        """What comes without pages for one parent."""
        if name in ("gates_rules", "dynamic_configs_rules"):
            return self.rules(name, parts[0])
        if name == "experiments_cumulative_exposures":
            return Response(body={"message": "Successfully loaded.", "data": self.exposures(parts[0])})
        if name.endswith("_overrides"):
            (overrides,) = self.rows(name, *parts)
            # the one answer to a GET that the specification has with the status 201
            status = 201 if name == "gates_overrides" else 200
            return Response(status=status, body={"message": "Overrides read successfully.", "data": overrides})
        pair = (query["control"], query["test"]) if name == "experiments_pulse_results" else ()
        return self.results(name, (*parts, *pair))

    def rules(self, name: str, key: str) -> Response:
        """The rules, all at once: of every other parent in one object, of the others in a list of objects."""
        rows = self.rows(name, key)
        message = "Rules read successfully."
        if int(key.rpartition("-")[2]) % 2 == 0:
            return Response(body={"message": message, "data": {"rules": rows}})
        data = [{"rules": rows[:2]}, *([{"rules": rows[2:]}] if rows[2:] else [])]
        pagination = {"itemsPerPage": 20000, "pageNumber": 1, "totalItems": len(data), "nextPage": None}
        return Response(body={"message": message, "data": data, "pagination": {**pagination, "previousPage": None}})

    def exposures(self, key: str) -> Rows:
        """The groups of an experiment, each with its days."""
        groups: dict[str, dict[str, Any]] = {}
        for row in self.rows("experiments_cumulative_exposures", key):
            shared = {name: row[name] for name in ("groupID", "groupName")}
            found = groups.setdefault(row["groupID"], {**shared, "results": []})
            found["results"].append({name: row[name] for name in ("date", "exposures")})
        return [*groups.values()]

    def results(self, name: str, parts: tuple[str, ...]) -> Response:
        """A result: 404 without such a rule, 400 if the groups are no two groups of the experiment."""
        if name == "gates_rules_pulse_results" and parts not in self.store[name]:
            self.complaints.append(f"no such rule: {parts}")
            return self.error(404)
        if name == "experiments_pulse_results":
            (row,) = (row for row in self.rows("experiments") if row["id"] == parts[0])
            groups = {each["id"] for each in row["groups"]}
            if not groups >= {*parts[1:]} or parts[1] == parts[2]:
                self.complaints.append(f"no two groups of {parts[0]}: {parts[1:]}")
                return self.error(400)
        rows = self.rows(name, *parts)
        roles = ("primary", "secondary", "other") if name == "experiments_pulse_results" else ("monitoring",)
        data: dict[str, Any] = {LISTS[role]: [] for role in roles}
        for row in rows:
            data[LISTS[row["metricRole"]]].append({k: v for k, v in row.items() if k not in ("metricRole", "ds")})
        if day := next((row["ds"] for row in rows if "ds" in row), None):
            data["ds"] = day
        return Response(body={"message": "Successfully loaded Pulse Results", "data": data})

    def page(self, name: str, rows: Rows, asked: Asked) -> Response:
        """A page by number, from 1."""
        number, limit = int(asked.query.get("page", 1)), min(int(asked.query.get("limit", 100)), self.largest)
        if number < 1:
            self.complaints.append(f"{asked.path}: page {number}")
            return self.error(400)
        found = cut(rows, start=(number - 1) * limit, limit=limit)
        if name == "gates":
            found = [every for row in found for every in self.sent(name, row)]
        body: dict[str, Any] = {"message": "Listed successfully.", "data": found}
        if name == "segments_ids":
            body["data"] = {"name": asked.path.split("/")[4], "count": len(rows), "ids": [row["id"] for row in found]}
        elif name not in SILENT:
            # the one list whose links lack their slash and have a host
            path = f"statsigapi.net{asked.path}" if name == "audit_logs" else asked.path
            body["pagination"] = {
                "itemsPerPage": limit,
                "pageNumber": number,
                "totalItems": len(rows),
                "nextPage": f"{path}?page={number + 1}&limit={limit}" if number * limit < len(rows) else None,
                "previousPage": f"{path}?page={number - 1}&limit={limit}" if number > 1 else None,
                "all": "",
            }
        return Response(body=body)


def is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def logged_on(row: dict[str, Any]) -> str:
    return datetime.strptime(row["date"], "%a %b %d %Y").replace(tzinfo=UTC).date().isoformat()
