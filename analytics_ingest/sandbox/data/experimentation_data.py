"""Generates the rows of experimentation: gates, configs, experiments, metrics and events."""

from __future__ import annotations

from typing import Any

from analytics_ingest.sandbox.data import experiment_rows
from analytics_ingest.sandbox.random_values import AREAS, THEMES, RandomValues, Rows, ids, scaled

EMPTY_GROUPS, FULL_GROUPS = 110, 120
"""Elements of the first gate's list that have no rules, and then those that have one."""
LONG_HISTORY = 110
"""Versions of the first config: more than a page holds."""
LONG_ID_LIST = 130
"""Members of the first segment: more than a page holds."""


def build(rng: RandomValues, scale: float) -> dict[str, Any]:
    """The rows of all endpoints."""
    users = [
        {
            "id": rng.code(12),
            **rng.person(n),
            "role": rng.choice(("Admin", "Member", "Read only")),
            **rng.span(),
        }
        for n in range(scaled(150, scale, 12))
    ]
    metrics = [experiment_rows.metric(rng, number) for number in range(scaled(220, scale, 12))]
    names = [f"{AREAS[n % 10]}_{experiment_rows.ACTIONS[n // 10 % 6]}" for n in range(60)]
    events = [
        {
            "name": name,
            "description": rng.maybe(f"Sent when a shopper has {rng.choice(experiment_rows.ACTIONS)} something"),
            "dailyCount": rng.integer(0, 900_000),
            "isAutocaptured": rng.chance(0.2),
            "tags": rng.sample(THEMES, 0, 2),
            **rng.span(),
        }
        for name in [*experiment_rows.ODD_EVENTS, *names][: scaled(50, scale, len(experiment_rows.ODD_EVENTS))]
    ]
    layers = [
        {
            "id": f"layer_{n}",
            "name": f"{AREAS[n % 10]} layer {n}",
            "description": "",
            "isImplicit": False,
            **rng.span(),
        }
        for n in range(scaled(12, scale, 2))
    ]
    autotunes = [
        {
            "id": f"autotune_{n}",
            "name": f"{AREAS[n % 10]} banner {n}",
            "variants": [{"name": color, "json": {"color": color}} for color in ("red", "green")],
            "successEvent": rng.choice(events)["name"],
            "explorationWindow": rng.choice(("24h", "48h")),
            "isStarted": rng.chance(0.6),
            **rng.span(),
            **({"updated_at": None} if n == 0 else {}),
        }
        for n in range(scaled(10, scale, 2))
    ]
    gates = [experiment_rows.gate(rng, n, users, rng.span()) for n in range(scaled(120, scale, 6))]
    gates_rules: dict[tuple[str, ...], Rows] = {
        (gate["id"],): [{"rules": [] if n % 9 == 1 else experiment_rows.rules(rng)}] for n, gate in enumerate(gates)
    }
    gates_rules[gates[0]["id"],] = [
        *({"rules": []} for _ in range(EMPTY_GROUPS)),
        *({"rules": [experiment_rows.rule(rng, rng.code(), f"Wave {n}")]} for n in range(FULL_GROUPS)),
        {"rules": [experiment_rows.rule(rng, "everyone", "Everyone")]},
    ]
    configs: Rows = [
        {
            "id": f"config_{AREAS[n % 10]}_{n}",
            "name": f"{AREAS[n % 10]} settings {n}",
            "description": rng.maybe(rng.title(), 0.6),
            "isEnabled": rng.chance(0.9),
            "defaultValue": {"columns": rng.integer(2, 5), "sticky": rng.chance(0.5)},
            "version": LONG_HISTORY if n == 0 else rng.integer(1, 7),
            "owner": experiment_rows.owner(users, rng),
            **rng.span(),
        }
        for n in range(scaled(60, scale, 3))
    ]
    segments = [experiment_rows.segment(rng, n, users, rng.span()) for n in range(scaled(40, scale, 3))]
    return {
        "audit_logs": [experiment_rows.audit_log(rng, users, rng.span()) for _ in range(scaled(3000, scale, 110))],
        "autotunes": autotunes,
        "dynamic_configs": configs,
        "dynamic_configs_versions": {
            (each["id"],): [
                experiment_rows.version(each, number, rng.choice(users), each["created_at"])
                for number in range(1, each["version"] + 1)
            ]
            for each in configs
        },
        "dynamic_configs_rules": {
            (each["id"],): [{"rules": experiment_rows.rules(rng, config=True)}] for each in configs
        },
        "events": events,
        "events_metrics": {
            (each["name"],): [] if n == 1 else [metrics[0], *rng.sample(metrics[1:], 0, 4)]
            for n, each in enumerate(events)
        },
        "experiments": [
            experiment_rows.experiment(rng, n, users, metrics, layers) for n in range(scaled(150, scale, 5))
        ],
        "gates": gates,
        "gates_rules": gates_rules,
        "holdouts": [],
        "ingestion_status": experiment_rows.status(rng, scaled(30, scale, 7)),
        "ingestion_runs": [experiment_rows.run(rng, rng.span(60)) for _ in range(scaled(300, scale, 12))],
        "layers": layers,
        "metrics": metrics,
        "metrics_values": experiment_rows.values(rng, metrics, scaled(2200, scale, 24)),
        "segments": segments,
        "segments_ids": {
            (each["id"],): experiment_rows.shoppers(rng, LONG_ID_LIST if n == 0 else rng.integer(0, 18))
            for n, each in enumerate(segments)
        },
        "tags": experiment_rows.tags(rng),
        "target_apps": [
            {"id": f"app_{name}", "name": name, "platform": platform, **rng.span()}
            for name, platform in (("shop-web", "web"), ("shop-ios", "ios"), ("shop-android", "android"))
        ],
        "users": users,
    }


def advance(store: dict[str, Any], rng: RandomValues, scale: float) -> None:
    """Adds runs, values and gates, edits rules and configs, adds and removes members of segments."""
    users, gates, rules = store["users"], store["gates"], store["gates_rules"]
    store["audit_logs"] += [experiment_rows.audit_log(rng, users, rng.fresh()) for _ in range(scaled(60, scale, 2))]
    store["ingestion_runs"] += [experiment_rows.run(rng, rng.fresh()) for _ in range(scaled(6, scale))]
    store["ingestion_status"][:] = experiment_rows.status(rng, len(store["ingestion_status"]))
    known = set(ids(store["metrics_values"]))
    new = experiment_rows.values(rng, store["metrics"], scaled(40, scale))
    store["metrics_values"] += [row for row in new if row["id"] not in known]
    for name, field in (
        ("experiments", "allocation"),
        ("gates", "checksPerHour"),
        ("metrics_values", "value"),
    ):
        number = scaled(len(store[name]) * 0.02, 1)
        for row in rng.sample(store[name], number, number):
            rng.touch(row, **{field: row[field] + rng.integer(1, 9)})
    for key in rng.sample([key for key, elements in rules.items() if elements[0]["rules"]], 2, 2):
        own = rules[key][0]["rules"]
        own[-1]["passPercentage"] = (own[-1]["passPercentage"] + rng.integer(1, 9)) % 101
    element = next((each for each in rules[gates[0]["id"],] if each["rules"]), None)
    if element is not None:
        element["rules"].pop()
    for _ in range(scaled(2, scale)):
        gate = experiment_rows.gate(rng, rng.serial(), users, rng.fresh())
        gates.append(gate)
        rules[gate["id"],] = [{"rules": experiment_rows.rules(rng)}]
    for config in rng.sample(store["dynamic_configs"], 1, scaled(2, scale)):
        rng.touch(config, version=config["version"] + 1)
        versions = store["dynamic_configs_versions"][config["id"],]
        versions.append(experiment_rows.version(config, config["version"], rng.choice(users), config["updated_at"]))
    for n, segment in enumerate(rng.sample(store["segments"], 2, scaled(3, scale, 2))):
        shoppers = store["segments_ids"][segment["id"],]
        if n == 0 and shoppers:
            shoppers.pop(rng.integer(0, len(shoppers) - 1))
        else:
            shoppers += experiment_rows.shoppers(rng, rng.integer(1, 3))
