"""Statsig: the rows of results and exposures, and the parents whose results, versions and overrides a sync requests.

An experiment has one result for each pair of its control and another group, a gate one for each rule. Results change
without a change of the experiment's row, so they are requested at each sync while it runs, and ``WINDOW_DAYS`` longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from analytics_ingest.apis.parents import ENDED, FromExpanded, as_list

if TYPE_CHECKING:
    from collections.abc import Iterator

    from analytics_ingest.apis.parents import Row

ENDED_STATUSES = frozenset({"decision_made", "abandoned", "archived", "experiment_stopped"})
"""Statuses of an experiment without further results. After ``assignment_stopped`` metrics are still analysed."""
ROLES = {
    "primaryMetrics": "primary",
    "secondaryMetrics": "secondary",
    "otherMetrics": "other",
    "monitoringMetrics": "monitoring",
}
"""By list of a result the role of its metrics."""
NUMBERS = (
    *("absolute_change", "confidence_interval_delta", "sequential_testing_confidence_interval_delta"),
    *("percent_change", "percent_confidence_interval_delta", "percent_sequential_testing_confidence_interval_delta"),
    *("test_mean", "control_mean", "test_std", "control_std", "test_units", "control_units", "p_value"),
    *("absolute_topline_impact", "absolute_topline_impact_delta"),
    *("relative_topline_impact", "relative_topline_impact_delta"),
    *("projected_absolute_topline_impact", "projected_absolute_topline_impact_delta"),
    *("projected_relative_topline_impact", "projected_relative_topline_impact_delta"),
)
"""Columns of a result with numbers, whole or not."""
MODIFIED = ("last_modified_time", "created_time")


def metrics(result: Any) -> Iterator[Any]:
    """The metrics of a result, each with its role and the day of the result.

    ``{"ds": "2026-01-31", "primaryMetrics": [{"metricID": "a::sum", "pValue": 0.04}]}`` becomes
    ``{"metricID": "a::sum", "pValue": 0.04, "metricRole": "primary", "ds": "2026-01-31"}``. An example of the
    specification has other names: ``p_value``, and ``value`` for the absolute change.
    """
    lists = [name for name in ROLES if isinstance(result, dict) and isinstance(result.get(name), list)]
    if not lists and (not isinstance(result, dict) or result.keys() - {"ds"}):
        # no result: rejected, as it has no key
        yield result
    for name in lists:
        for metric in result[name]:
            if not isinstance(metric, dict):
                yield metric
                continue
            row = {_as_specified(field): value for field, value in metric.items()}
            yield {**row, "metricRole": ROLES[name], "ds": result.get("ds")}


def exposures(group: Any) -> Iterator[Any]:
    """The days of a group, each with the number of units that were exposed so far."""
    if not isinstance(group, dict) or not isinstance(group.get("results"), list):
        # not a group: rejected, as it has no key
        yield group
        return
    shared = {name: value for name, value in group.items() if name != "results"}
    for day in group["results"]:
        yield {**shared, **day} if isinstance(day, dict) else day


def last_change(row: Row) -> Any:
    """The time of a row's last change, or of its creation."""
    return row["last_modified_time"] or row["created_time"]


def changed(row: Row) -> Iterator[Row]:
    """One partition, which counts as ended since the last change of the row."""
    yield {ENDED: last_change(row)}


def started(experiment: Row) -> Iterator[Row]:
    """One partition for an experiment that has started, until it ends."""
    if experiment["start_time"] is not None:
        ended = experiment["status"] in ENDED_STATUSES
        yield {ENDED: (experiment["end_time"] or last_change(experiment)) if ended else None}


def compared_groups(experiment: Row) -> Iterator[Row]:
    """One partition for each group of an experiment that has started, except the control group.

    Without ``controlGroupID`` the control group is the one of that name, or else the first.
    """
    groups = {each["id"]: str(each.get("name")) for each in as_list(experiment["groups"]) if _has_id(each)}
    named = [key for key, name in groups.items() if name.lower() == "control"]
    control = experiment["control_group_id"] or next(iter([*named, *groups]), None)
    for running in started(experiment):
        for test in groups:
            if test != control:
                yield {**running, "control_group_id": control, "test_group_id": test}


def measured_rules(gate: Row) -> Iterator[Row]:
    """One partition for each rule of a gate whose effect is measured; one that lets all or no users pass has ended."""
    if gate["measure_metric_lifts"] is False:
        return
    running = gate["is_enabled"] is not False and gate["status"] in (None, "In Progress")
    for rule in {each["id"]: each for each in as_list(gate["rules"]) if _has_id(each)}.values():
        splits = rule.get("passPercentage") not in (0, 100)
        yield {
            "rule_id": rule["id"],
            "rule_base_id": rule.get("baseID"),
            ENDED: None if running and splits else last_change(gate),
        }


def switched_on(holdout: Row) -> Iterator[Row]:
    """One partition, until the holdout is switched off."""
    yield {ENDED: last_change(holdout) if holdout["is_enabled"] is False else None}


def _as_specified(field: str) -> str:
    """The name that the schema has for a field of the example: ``pValue`` for ``p_value``."""
    first, *rest = field.split("_")
    return "absoluteChange" if field == "value" else first + "".join(part.capitalize() for part in rest)


def _has_id(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("id"), str)


EXPERIMENT = ("start_time", "end_time", "status", *MODIFIED)
GATE = ("measure_metric_lifts", "is_enabled", "status", *MODIFIED)

CHANGED_GATE = FromExpanded(resource="gates", columns={"gate_id": "id"}, reads=MODIFIED, expand=changed)
CHANGED_EXPERIMENT = FromExpanded(
    resource="experiments", columns={"experiment_id": "id"}, reads=MODIFIED, expand=changed
)
STARTED_EXPERIMENT = FromExpanded(
    resource="experiments", columns={"experiment_id": "id"}, reads=EXPERIMENT, expand=started
)
COMPARED_GROUP = FromExpanded(
    resource="experiments",
    columns={"experiment_id": "id"},
    reads=("groups", "control_group_id", *EXPERIMENT),
    expand=compared_groups,
    added=("control_group_id", "test_group_id"),
)
MEASURED_RULE = FromExpanded(
    resource="gates",
    columns={"gate_id": "id"},
    reads=("rules", *GATE),
    expand=measured_rules,
    added=("rule_id", "rule_base_id"),
)
HOLDOUT = FromExpanded(
    resource="holdouts", columns={"holdout_id": "id"}, reads=("is_enabled", *MODIFIED), expand=switched_on
)
