"""Gates, configs, experiments, metrics and events of a web shop."""

from __future__ import annotations

from typing import Any

from analytics_ingest.sandbox.data import experiment_rows as make
from analytics_ingest.sandbox.draw import AREAS, THEMES, Draw, Rows, ids, scaled

_EMPTY_GROUPS = 110
_FULL_GROUPS = 120
_LONG_HISTORY = 110
_LONG_ID_LIST = 130


def build(draw: Draw, scale: float) -> dict[str, Any]:
    """Make the rows of all experimentation endpoints."""
    users = [
        {
            "id": draw.code(12),
            **draw.person(n),
            "role": draw.pick(("Admin", "Member", "Read only")),
            **draw.span(),
        }
        for n in range(scaled(150, scale, 12))
    ]
    metrics = [make.metric(draw, number) for number in range(scaled(220, scale, 12))]
    names = [f"{AREAS[n % 10]}_{make.ACTIONS[n // 10 % 6]}" for n in range(60)]
    events = [
        {
            "name": name,
            "description": draw.maybe(f"Sent when a shopper has {draw.pick(make.ACTIONS)} something"),
            "dailyCount": draw.whole(0, 900_000),
            "isAutocaptured": draw.chance(0.2),
            "tags": draw.some(THEMES, 0, 2),
            **draw.span(),
        }
        for name in [*make.ODD_EVENTS, *names][: scaled(50, scale, len(make.ODD_EVENTS))]
    ]
    layers = [
        {
            "id": f"layer_{n}",
            "name": f"{AREAS[n % 10]} layer {n}",
            "description": "",
            "isImplicit": False,
            **draw.span(),
        }
        for n in range(scaled(12, scale, 2))
    ]
    autotunes = [
        {
            "id": f"autotune_{n}",
            "name": f"{AREAS[n % 10]} banner {n}",
            "variants": [{"name": color, "json": {"color": color}} for color in ("red", "green")],
            "successEvent": draw.pick(events)["name"],
            "explorationWindow": draw.pick(("24h", "48h")),
            "isStarted": draw.chance(0.6),
            **draw.span(),
            **({"updated_at": None} if n == 0 else {}),
        }
        for n in range(scaled(10, scale, 2))
    ]
    gates = [make.gate(draw, n, users, draw.span()) for n in range(scaled(120, scale, 6))]
    gates_rules: dict[tuple[str, ...], Rows] = {
        (gate["id"],): [{"rules": [] if n % 9 == 1 else make.rules(draw)}] for n, gate in enumerate(gates)
    }
    gates_rules[gates[0]["id"],] = [
        *({"rules": []} for _ in range(_EMPTY_GROUPS)),
        *({"rules": [make.rule(draw, draw.code(), f"Wave {n}")]} for n in range(_FULL_GROUPS)),
        {"rules": [make.rule(draw, "everyone", "Everyone")]},
    ]
    configs: Rows = [
        {
            "id": f"config_{AREAS[n % 10]}_{n}",
            "name": f"{AREAS[n % 10]} settings {n}",
            "description": draw.maybe(draw.title(), 0.6),
            "isEnabled": draw.chance(0.9),
            "defaultValue": {"columns": draw.whole(2, 5), "sticky": draw.chance(0.5)},
            "version": _LONG_HISTORY if n == 0 else draw.whole(1, 7),
            "owner": make.owner(users, draw),
            **draw.span(),
        }
        for n in range(scaled(60, scale, 3))
    ]
    segments = [make.segment(draw, n, users, draw.span()) for n in range(scaled(40, scale, 3))]
    return {
        "audit_logs": [make.audit_log(draw, users, draw.span()) for _ in range(scaled(3000, scale, 110))],
        "autotunes": autotunes,
        "dynamic_configs": configs,
        "dynamic_configs_versions": {
            (each["id"],): [
                make.version(each, number, draw.pick(users), each["created_at"])
                for number in range(1, each["version"] + 1)
            ]
            for each in configs
        },
        "dynamic_configs_rules": {(each["id"],): [{"rules": make.rules(draw, config=True)}] for each in configs},
        "events": events,
        "events_metrics": {
            (each["name"],): [] if n == 1 else [metrics[0], *draw.some(metrics[1:], 0, 4)]
            for n, each in enumerate(events)
        },
        "experiments": [make.experiment(draw, n, users, metrics, layers) for n in range(scaled(150, scale, 5))],
        "gates": gates,
        "gates_rules": gates_rules,
        "holdouts": [],
        "ingestion_status": make.status(draw, scaled(30, scale, 7)),
        "ingestion_runs": [make.run(draw, draw.span(60)) for _ in range(scaled(300, scale, 12))],
        "layers": layers,
        "metrics": metrics,
        "metrics_values": make.values(draw, metrics, scaled(2200, scale, 24)),
        "segments": segments,
        "segments_ids": {
            (each["id"],): make.shoppers(draw, _LONG_ID_LIST if n == 0 else draw.whole(0, 18))
            for n, each in enumerate(segments)
        },
        "tags": make.tags(draw),
        "target_apps": [
            {"id": f"app_{name}", "name": name, "platform": platform, **draw.span()}
            for name, platform in (("shop-web", "web"), ("shop-ios", "ios"), ("shop-android", "android"))
        ],
        "users": users,
    }


def advance(store: dict[str, Any], draw: Draw, scale: float) -> None:
    """Log a day's work: new runs, values and gates, edited rules and configs, shoppers in and out."""
    users, gates, rules = store["users"], store["gates"], store["gates_rules"]
    store["audit_logs"] += [make.audit_log(draw, users, draw.fresh()) for _ in range(scaled(60, scale, 2))]
    store["ingestion_runs"] += [make.run(draw, draw.fresh()) for _ in range(scaled(6, scale))]
    store["ingestion_status"][:] = make.status(draw, len(store["ingestion_status"]))
    known = set(ids(store["metrics_values"]))
    new = make.values(draw, store["metrics"], scaled(40, scale))
    store["metrics_values"] += [row for row in new if row["id"] not in known]
    for name, field in (
        ("experiments", "allocation"),
        ("gates", "checksPerHour"),
        ("metrics_values", "value"),
    ):
        number = scaled(len(store[name]) * 0.02, 1)
        for row in draw.some(store[name], number, number):
            draw.touch(row, **{field: row[field] + draw.whole(1, 9)})
    for key in draw.some([key for key, elements in rules.items() if elements[0]["rules"]], 2, 2):
        own = rules[key][0]["rules"]
        own[-1]["passPercentage"] = (own[-1]["passPercentage"] + draw.whole(1, 9)) % 101
    element = next((each for each in rules[gates[0]["id"],] if each["rules"]), None)
    if element is not None:
        element["rules"].pop()
    for _ in range(scaled(2, scale)):
        gate = make.gate(draw, draw.serial(), users, draw.fresh())
        gates.append(gate)
        rules[gate["id"],] = [{"rules": make.rules(draw)}]
    for config in draw.some(store["dynamic_configs"], 1, scaled(2, scale)):
        draw.touch(config, version=config["version"] + 1)
        versions = store["dynamic_configs_versions"][config["id"],]
        versions.append(make.version(config, config["version"], draw.pick(users), config["updated_at"]))
    for n, segment in enumerate(draw.some(store["segments"], 2, scaled(3, scale, 2))):
        shoppers = store["segments_ids"][segment["id"],]
        if n == 0 and shoppers:
            shoppers.pop(draw.whole(0, len(shoppers) - 1))
        else:
            shoppers += make.shoppers(draw, draw.whole(1, 3))
