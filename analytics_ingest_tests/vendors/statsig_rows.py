"""The rows of Statsig's local server, as the Console API sends them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from analytics_ingest_tests.vendors.server import Rows, numbered

Row = dict[str, Any]
Store = dict[str, dict[tuple[str, ...], "Rows"]]

EPOCH_MS = 1_750_000_000_000
LATER_MS = EPOCH_MS + 90 * 86_400_000
LOG_BEGINS = datetime(2026, 9, 1, 21, 30, tzinfo=UTC)
WINDOW = 7
"""Days with values of metrics and a status of the ingestion, today included."""
EVENT_NAMES = (
    *("page/view", "what next?", "add to cart", "cart::added", "100% done", "größe", "#1", "a&b=c"),
    *(f"event_{n}" for n in range(7)),
)
SEGMENT_TYPES = ("id_list", "rule_based", "analysis_list")
ID_COUNTS = {0: 250, 3: 100, 6: 0, 9: 3}
"""By the number of the segment; the others that are lists have one id."""
UNMEASURED = 9
"""The gate whose effect is not measured."""
EXAMPLE = 3
"""The experiment whose results have the shape of the specification's example."""


def stamped(n: int) -> Row:
    """Creation and last change, in no order; every fourth row was never changed."""
    created = EPOCH_MS + n * 3_600_000
    return {
        "createdTime": created,
        "lastModifiedTime": None if n % 4 == 3 else created + n * 7919 % 5000 * 60_000,
        "creatorName": "CONSOLE API",
    }


def named(kind: str, **more: Any) -> Callable[[int], Row]:
    """Makes rows of an entity that has an id, a name and times."""
    return lambda n: {"id": f"{kind}-{n}", "name": f"The {kind} {n}", "tags": [], **more, **stamped(n)}


def entry(n: int) -> Row:
    """An entry of the audit log, three hours after the one before."""
    moment = LOG_BEGINS + n * timedelta(hours=3)
    return {
        "id": f"entry-{n}",
        "name": f"gate-{n % 20}",
        "changeLog": f"change {n}",
        "actionType": "gate_update",
        "date": moment.strftime("%a %b %d %Y"),
        "time": moment.strftime("%H:%M:%S GMT+0000 (Coordinated Universal Time)"),
        "updatedBy": "CONSOLE API",
    }


def rule(n: int) -> Row:
    """A rule; other gates and configs have rules of the same id."""
    return {
        "id": f"rule-{n}",
        "baseID": f"base-{n}",
        "name": f"Rule {n}",
        "passPercentage": 10 * n if n < 2 else 10 * n + 0.5,
        "conditions": [{"type": "country", "targetValue": ["CA"], "operator": "any"}],
        "environments": None,
    }


def version(config: str, n: int) -> Row:
    """A version of a dynamic config, which carries the config's id."""
    return {"id": config, "name": config, "version": n, "isEnabled": n % 2 == 0, **stamped(n)}


def event(n: int) -> Row:
    """A sample of an event's values."""
    return {
        "name": EVENT_NAMES[n % len(EVENT_NAMES)],
        "value": f"value {n % 20}",
        "userID": f"user-{n % 10}",
        "timestamp": str(EPOCH_MS + n),
    }


def event_metric(name: str, n: int) -> Row:
    """A metric that is computed from an event; the event's name is no field of it."""
    return {"id": f"{name} {n}::event_count", "name": f"{name} {n}", "type": "event_count", "tags": [], **stamped(n)}


def group(experiment: int, n: int) -> Row:
    """A group of an experiment; groups of other experiments have other ids."""
    return {"id": f"group-{experiment}-{n}", "name": "Test" if n else "Control", "size": 50, "parameterValues": {}}


def experiment(n: int) -> Row:
    """An experiment: every third one has not begun, every third one runs, the others have ended."""
    begun = None if n % 3 == 2 else EPOCH_MS + n * 1000
    return {
        "id": f"experiment-{n}",
        "name": f"The experiment {n}",
        "status": ("decision_made", "active", "setup")[n % 3],
        "groups": [group(n, k) for k in range(3 if n % 5 == 0 else 2)],
        **({"controlGroupID": f"group-{n}-0"} if n % 4 else {}),
        "layerID": f"layer-{n % 5}",
        "allocation": (100, 50, 12.5)[n % 3],
        "startTime": begun,
        "endTime": None if n % 3 else EPOCH_MS + LATER_MS % 1_000_000_000 + n * 1000,
        **stamped(n),
    }


def status(day: date, n: int) -> Row:
    """What the ingestion said of a day."""
    return {
        "timestamp": f"{day}T00:50:07.{n:03}Z",
        "ds": f"{day}T00:00:00.000Z",
        "ingestion_dataset": "events",
        "ingestion_source": None,
        "message": f"message {n}",
        "status": "IMPORT_SUCCESSFUL",
    }


def run(n: int) -> Row:
    """A run of the ingestion."""
    return {
        "runID": f"run-{n}",
        "latestStatus": "completed",
        "createdAt": f"2026-0{1 + n % 9}-14T02:31:46.{n:03}Z",
        "lastUpdatedAt": f"2026-0{1 + n % 9}-14T03:47:00.{n:03}Z",
        "trigger": "scheduled",
        "sources": ["Events 1"],
        "dateStamps": ["2026-01-12"],
    }


def metric(n: int) -> Row:
    """The definition of a metric; every tenth one is hidden."""
    return {
        "id": f"metric {n}::sum",
        "name": f"metric {n}",
        "type": "sum",
        "isHidden": n % 10 == 9,
        **stamped(n),
    }


def value(n: int) -> Row:
    """The value of a metric on a day, which is no field of it."""
    return {
        "metricName": f"metric {n // 3}",
        "metricType": ("sum", "sum", "count")[n % 3],
        "unitType": ("userID", "stableID", "userID")[n % 3],
        # whole numbers come first; later rows have fractions
        "value": n if n < 20 else n + 0.5,
        "numerator": n if n < 20 else n + 0.5,
        "inputRows": n,
    }


def segment(n: int) -> Row:
    """A segment; some come without times."""
    row = {"id": f"segment-{n}", "name": f"segment {n}", "type": SEGMENT_TYPES[n % 3], "isEnabled": True}
    return row if n % 2 else {**row, **stamped(n)}


def listed(n: int) -> Row:
    """An id of a list; it is sent bare."""
    return {"id": f"user-{n}"}


def team(n: int) -> Row:
    """A team; some come without their id."""
    row = {"name": f"team {n}", "members": [user(n)], "admins": [], "changeTeamConfigs": "anyone"}
    return row if n % 2 else {**row, "id": f"team-{n}"}


def source(n: int) -> Row:
    """A metric source."""
    return {
        "name": f"source {n}",
        "description": "",
        "sql": f"SELECT * FROM events_{n}",
        "timestampColumn": "ts",
        "idTypeMapping": [{"statsigUnitID": "userID", "column": "user_id"}],
    }


def gate_overrides(n: int) -> Row:
    """The overrides of a gate."""
    return {"passingUserIDs": [f"user-{k}" for k in range(n % 3)], "failingUserIDs": [], "environmentOverrides": []}


def experiment_overrides(n: int) -> Row:
    """The overrides of an experiment."""
    forced = [{"type": "segment", "id": "segment-1", "groupID": "Test"}] if n % 2 else []
    return {"overrides": forced, "userIDOverrides": [{"groupID": "Control", "ids": [f"user-{n}"]}]}


def app(n: int) -> Row:
    """A target app; some come with their name alone."""
    return {"name": f"app {n}"} if n % 2 else {"id": f"app-{n}", "name": f"app {n}"}


def user(n: int) -> Row:
    """Somebody with access to the console."""
    return {"email": f"u{n}@example.com", "firstName": f"First {n}", "lastName": "Last", "role": "Member"}


def gate(n: int) -> Row:
    """A gate; every fourth one is launched, and one is not measured. Its rules are in a list of their own."""
    status = "Launched" if n % 4 == 2 else "In Progress"
    return {**named("gate", isEnabled=True, status=status)(n), "measureMetricLifts": n != UNMEASURED}


def holdout(n: int) -> Row:
    """A holdout; every third one is off."""
    return {**named("holdout")(n), "isEnabled": n % 3 != 2, "passPercentage": n if n < 3 else n + 0.5}


def result(role: str, n: int) -> Row:
    """A metric of a result, as the table has it: the server sends it in the list of its role, and the day once."""
    return {
        "metricRole": role,
        "ds": "2026-10-01",
        "metricID": f"metric {n}::sum",
        "metricName": f"metric {n}",
        "directionality": "increase",
        # whole numbers come first; later rows have fractions
        "absoluteChange": n if n < 2 else n + 0.25,
        "confidenceIntervalDelta": 1,
        "percentChange": 2.5 * n,
        "testMean": 10 + n,
        "controlMean": 10,
        "testUnits": 1500,
        "controlUnits": 1480 + n,
        "pValue": 0 if n == 0 else 1 / (n + 1),
    }


def result_of_the_example(n: int) -> Row:
    """A metric of a result in the shape that an example of the specification has: other names, and no day."""
    return {
        "metricRole": "primary",
        "metricID": f"metric {n}::user_warehouse",
        "value": -0.5,
        "confidence_interval_delta": 1.25,
        "test_units": 1669,
        "p_value": 0.75,
    }


def results(n: int) -> Rows:
    """The metrics of an experiment's result; one may be in two lists."""
    if n == EXAMPLE:
        return numbered(2, result_of_the_example)
    return [
        *(result("primary", k) for k in range(1 + n % 3)),
        *(result("secondary", k) for k in range(n % 2)),
        *(result("other", 4 + k) for k in range(n % 4)),
    ]


def monitored(n: int) -> Rows:
    """The metrics of the result of a gate's rule, or of a holdout."""
    return [result("monitoring", k) for k in range(n % 4)]


def exposed(experiment: int, n: int, day: int) -> Row:
    """The units that were exposed to a group by a day, as the table has it."""
    group_of = group(experiment, n)
    return {
        "groupID": group_of["id"],
        "groupName": group_of["name"],
        "date": f"2026-10-{1 + day:02}",
        "exposures": 1000 * day + n,
    }


def comparisons(row: Row) -> list[tuple[str, str, str]]:
    """The pairs of groups that an experiment has results of: the control group and each other one."""
    control, *others = [each["id"] for each in row["groups"]]
    return [(row["id"], control, other) for other in others]


def first_rows(today: date) -> Store:
    """All rows of the first sync."""
    days = [today - timedelta(days=back) for back in range(WINDOW)]
    lists = {
        "audit_logs": numbered(130, entry),
        "autotunes": numbered(7, named("autotune")),
        "dynamic_configs": numbered(12, named("config", isEnabled=True)),
        "events": numbered(45, event),
        "experiments": numbered(205, experiment),
        "gates": numbered(20, gate),
        "holdouts": numbered(7, holdout),
        "ingestion_status": [status(day, n) for day in days for n in range(2)],
        "ingestion_runs": numbered(130, run),
        "layers": numbered(7, named("layer")),
        "metrics": numbered(230, metric),
        "segments": numbered(26, segment),
        "tags": numbered(130, lambda n: {"id": f"tag-{n}", "name": f"tag {n}", "description": "", "isCore": n < 3}),
        "target_apps": numbered(9, app),
        "teams": numbered(9, team),
        "metric_sources": numbered(9, source),
        "users": numbered(230, user),
    }
    store: Store = {name: {(): rows} for name, rows in lists.items()}
    store["dynamic_configs_versions"] = {
        (each["id"],): [version(each["id"], 1 + k) for k in range(1 + n % 3 if n else 105)]
        for n, each in enumerate(lists["dynamic_configs"])
    }
    for parents, children in (("dynamic_configs", "dynamic_configs_rules"), ("gates", "gates_rules")):
        store[children] = {(each["id"],): numbered(n % 5, rule) for n, each in enumerate(lists[parents])}
    store["events_metrics"] = {
        (name,): [event_metric(name, k) for k in range(9 if n == 0 else n % 3)] for n, name in enumerate(EVENT_NAMES)
    }
    store["metrics_values"] = {(str(day),): numbered(45, value) for day in days}
    store["segments_ids"] = {
        (each["id"],): numbered(ID_COUNTS.get(n, 1), listed)
        for n, each in enumerate(lists["segments"])
        if each["type"] == "id_list"
    }
    store["gates_versions"] = {
        (each["id"],): [
            {**{field: value for field, value in each.items() if field != "measureMetricLifts"}, "version": 1 + k}
            for k in range(n % 3 if n else 12)
        ]
        for n, each in enumerate(lists["gates"])
    }
    store["gates_overrides"] = {(each["id"],): [gate_overrides(n)] for n, each in enumerate(lists["gates"])}
    store["experiments_overrides"] = {
        (each["id"],): [experiment_overrides(n)] for n, each in enumerate(lists["experiments"])
    }
    begun = [(n, each) for n, each in enumerate(lists["experiments"]) if each["startTime"]]
    store["experiments_pulse_results"] = {pair: results(n) for n, each in begun for pair in comparisons(each)}
    store["experiments_cumulative_exposures"] = {
        (each["id"],): [exposed(n, k, day) for k in range(len(each["groups"])) for day in range(n % 4)]
        for n, each in begun
    }
    store["gates_rules_pulse_results"] = {
        (each["id"], every["id"]): monitored(n + k)
        for n, each in enumerate(lists["gates"])
        if n != UNMEASURED
        for k, every in enumerate(store["gates_rules"][each["id"],])
    }
    store["holdouts_pulse_results"] = {(each["id"],): monitored(n + 1) for n, each in enumerate(lists["holdouts"])}
    return store
