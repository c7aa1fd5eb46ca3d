"""Split's Admin API as a local server: three envelopes, markers, offsets with totals, bare arrays, its rate headers."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, ClassVar

from analytics_ingest_tests.fake_server import Asked, Response
from analytics_ingest_tests.vendors.server import ALONE, Route, Rows, Vendor, cut, numbered

SDK_KEY = "sdk-k3y-of-the-vendors-tests"
EPOCH_MS = 1_760_000_000_000
OFFSET = frozenset({"offset", "limit"})
MARKER = frozenset({"after", "limit", "offset"})
STATUSES = ("REQUESTED", "SCHEDULE_REQUESTED", "APPROVED", "REJECTED", "WITHDRAWN", "PUBLISHED")
LARGEST = {"change_requests": 100, "flag_sets": 200, "users": 200, "groups": 200}


class Split(Vendor):
    """Three workspaces with two environments each. Nothing has an ``updated_at``."""

    profile = "split"
    prefix = "/internal/api"
    ROUTES = (
        Route("change_requests", r"/v2/changeRequests", MARKER | {"status", "environmentId"}),
        Route("workspaces", r"/v2/workspaces", OFFSET),
        Route("flag_sets", r"/v3/flag-sets", MARKER, frozenset({"workspace_id"})),
        Route("users", r"/v2/users", MARKER | {"status"}),
        Route("segments", r"/v2/segments/ws/([^/]+)", OFFSET),
        Route("segment_definitions", r"/v2/segments/ws/([^/]+)/environments/([^/]+)", OFFSET),
        Route("segments_keys", r"/v2/segments/([^/]+)/([^/]+)/keys", OFFSET),
        Route("rule_based_segments", r"/v2/rule-based-segments/ws/([^/]+)", OFFSET),
        Route("rule_based_segment_definitions", r"/v2/rule-based-segments/ws/([^/]+)/environments/([^/]+)", OFFSET),
        Route("large_segments", r"/v2/large-segments/ws/([^/]+)"),
        Route("large_segment_definitions", r"/v2/large-segments/ws/([^/]+)/environments/([^/]+)"),
        Route("attributes", r"/v2/schema/ws/([^/]+)/trafficTypes/([^/]+)"),
        Route("rollout_statuses", r"/v2/rolloutStatuses", frozenset(), frozenset({"wsId"})),
        Route("environments", r"/v2/environments/ws/([^/]+)"),
        Route("traffic_types", r"/v2/trafficTypes/ws/([^/]+)"),
        Route("groups", r"/v2/groups", OFFSET),
        Route("feature_flags", r"/v2/splits/ws/([^/]+)", OFFSET | {"tag"}),
        Route("feature_flag_definitions", r"/v2/splits/ws/([^/]+)/environments/([^/]+)", OFFSET),
    )
    PARAMS: ClassVar[dict[str, tuple[str, ...]]] = {
        "segments": ("workspace_id",),
        "segment_definitions": ("workspace_id", "environment_id"),
        "segments_keys": ("environment_id", "segment_name"),
        "rule_based_segments": ("workspace_id",),
        "rule_based_segment_definitions": ("workspace_id", "environment_id"),
        "large_segments": ("workspace_id",),
        "large_segment_definitions": ("workspace_id", "environment_id"),
        "attributes": ("workspace_id", "traffic_type_id"),
        "rollout_statuses": ("workspace_id",),
        "environments": ("workspace_id",),
        "traffic_types": ("workspace_id",),
        "flag_sets": ("workspace_id",),
        "feature_flags": ("workspace_id",),
        "feature_flag_definitions": ("workspace_id", "environment_id"),
    }

    UNPAGED = frozenset(
        {"environments", "traffic_types", "rollout_statuses", "large_segments", "large_segment_definitions"}
        | {"attributes"}
    )
    WHOLE = UNPAGED | {"rule_based_segments", "rule_based_segment_definitions"}
    """Bare arrays: the client sends an offset and a limit for rule-based segments, and they are not looked at."""
    LIMITS: ClassVar[dict[str, int]] = {"workspaces": 2, "segment_definitions": 20}
    takes_harness_tokens = False
    """Whether the account is one of Harness, whose tokens go into a header of their own."""

    def fill(self) -> None:
        self.rows("workspaces").extend(
            numbered(3, lambda n: {"id": f"ws-{n}", "name": f"Workspace {n}", "type": "workspace"})
        )
        self.rows("groups").extend(numbered(230, lambda n: {"id": f"group-{n}", "name": f"Group {n}", "type": "group"}))
        self.rows("users").extend(
            numbered(
                450,
                lambda n: {
                    "id": f"user-{n}",
                    "email": f"u{n}@example.com",
                    "status": ("ACTIVE", "ACTIVE", "ACTIVE", "DEACTIVATED", "PENDING")[n % 5],
                    "groups": [{"type": "group", "id": f"group-{n % 7}"}],
                },
            )
        )
        self.rows("change_requests").extend(numbered(700, change_request))
        for n in range(3):
            self.fill_workspace(f"ws-{n}", segments=53 if n == 0 else 8)

    def fill_workspace(self, workspace: str, *, segments: int) -> None:
        """What there is in a workspace; segments have the same names in all of them, and more than a page in one."""
        for stage in ("staging", "production"):
            tokens = [{"id": f"{SDK_KEY}-{stage}", "name": "sdk", "type": "api_token", "apiKeyType": "server_side"}]
            row = {
                "id": f"{workspace}-{stage}",
                "name": stage,
                "production": stage == "production",
                "apiTokens": tokens,
            }
            self.rows("environments", workspace).append(row)
        self.rows("traffic_types", workspace).append(
            {"id": f"{workspace}-user", "name": "user", "workspace": {"id": workspace}}
        )
        for name in ("Ramping", "Killed", "100% Released"):
            self.rows("rollout_statuses", workspace).append({"id": f"{workspace}-{name}", "name": name})
        self.rows("flag_sets", workspace).extend(
            numbered(
                120,
                lambda n: {
                    "id": f"{workspace}-set-{n}",
                    "name": f"set_{n}",
                    "workspace": {"id": workspace, "type": "WORKSPACE"},
                    "createdAt": f"2026-01-02T03:04:05.{n:03}Z",
                    "type": "FLAG_SET",
                },
            )
        )
        self.rows("segments", workspace).extend(
            numbered(segments, lambda n: {"name": f"segment {n}/a", "creationTime": EPOCH_MS + n, "tags": []})
        )
        self.rows("feature_flags", workspace).extend(
            numbered(
                103,
                lambda n: {
                    "id": f"{workspace}-flag-{n}",
                    "name": f"flag_{n}",
                    "trafficType": {"id": f"{workspace}-user", "name": "user"},
                    "creationTime": EPOCH_MS + 1000 * n,
                    "rolloutStatus": {"id": f"{workspace}-Ramping", "name": "Ramping"},
                    "rolloutStatusTimestamp": EPOCH_MS + 2000 * n,
                },
            )
        )
        self.rows("rule_based_segments", workspace).extend(
            numbered(segments + 1, partial(segment, kind="rules", workspace=workspace))
        )
        self.rows("large_segments", workspace).extend(numbered(4, partial(segment, kind="large", workspace=workspace)))
        self.rows("attributes", workspace, f"{workspace}-user").extend(numbered(7, attribute))
        for stage in ("staging", "production"):
            environment = f"{workspace}-{stage}"
            self.rows("feature_flag_definitions", workspace, environment).extend(
                numbered(43, partial(definition, stage=stage))
            )
            self.rows("rule_based_segment_definitions", workspace, environment).extend(
                numbered(segments + 1, partial(rule_based, environment=environment))
            )
            self.rows("large_segment_definitions", workspace, environment).extend(
                numbered(4, partial(large, environment=environment))
            )
            for n in range(0, segments, 2 if stage == "staging" else 5):
                count = {0: 250, 10: 100, 20: 0}.get(n, 1 + n % 3)
                keys = self.rows("segments_keys", environment, f"segment {n}/a")
                keys.extend({"key": f"{stage}-key-{k}"} for k in range(count))
                self.define(workspace, stage, f"segment {n}/a")

    def define(self, workspace: str, stage: str, segment: str) -> None:
        """Defines a segment in an environment, where it has the keys in the store."""
        environment = f"{workspace}-{stage}"
        self.rows("segments_keys", environment, segment)
        self.rows("segment_definitions", workspace, environment).append(
            {
                "name": segment,
                "environment": {"id": environment, "name": stage},
                "trafficType": {"id": f"{workspace}-user", "name": "user"},
                "creationTime": EPOCH_MS,
            }
        )

    def sent(self, endpoint: str, row: dict[str, Any]) -> Rows:
        return [{name: value for name, value in row.items() if name != "apiTokens"}]

    def advance(self) -> None:
        requests = self.rows("change_requests")
        requests[0]["status"] = "PUBLISHED"
        requests[1]["title"] = "another title"
        del requests[5]
        requests.append(change_request(700))
        self.rows("users")[3]["status"] = "ACTIVE"
        self.rows("segments", "ws-0").append({"name": "a new one", "creationTime": EPOCH_MS, "tags": [{"name": "new"}]})
        self.define("ws-0", "staging", "a new one")
        self.rows("segments_keys", "ws-0-staging", "a new one").append({"key": "first"})
        del self.rows("segments_keys", "ws-0-staging", "segment 0/a")[7:9]
        self.rows("segments_keys", "ws-0-staging", "segment 0/a").append({"key": "one more"})
        self.rows("feature_flag_definitions", "ws-1", "ws-1-production")[4].update(
            killed=True, lastUpdateTime=EPOCH_MS * 1.01
        )
        self.rows("rule_based_segment_definitions", "ws-1", "ws-1-staging")[2]["excludedKeys"] = ["key-7", "key-8"]
        self.rows("rule_based_segments", "ws-0").pop(0)
        self.rows("large_segments", "ws-1")[1]["description"] = "other customers"
        self.rows("large_segment_definitions", "ws-1", "ws-1-staging").pop()
        self.rows("attributes", "ws-2", "ws-2-user")[3]["displayName"] = "another name"
        self.rows("feature_flags", "ws-2").pop()
        self.rows("workspaces").append({"id": "ws-3", "name": "Workspace 3", "type": "workspace"})
        self.fill_workspace("ws-3", segments=8)

    def authorised(self, asked: Asked) -> bool:
        sent = {name: asked.headers.get(name) for name in ("Authorization", "x-api-key")}
        if self.takes_harness_tokens:
            return sent == {"Authorization": None, "x-api-key": self.KEY}
        return sent == {"Authorization": f"Bearer {self.KEY}", "x-api-key": None}

    def error(self, status: int) -> Response:
        words = {400: "BAD_REQUEST", 401: "UNAUTHORIZED", 404: "NOT_FOUND", 429: "TOO_MANY_REQUESTS"}
        body = {"code": status, "message": words[status], "details": "", "transactionId": "3c1a"}
        return Response(status=status, body=body)

    def headers(self) -> dict[str, str]:
        """The organisation's window is the longer one: waiting for the address's alone is not enough."""
        if not self.limit:
            return {}
        return {
            "X-RateLimit-Remaining-Org": str(self.limit.left),
            "X-RateLimit-Remaining-IP": str(self.limit.left),
            "X-RateLimit-Reset-Seconds-Org": str(math.ceil(self.limit.resets_in)),
            "X-RateLimit-Reset-Seconds-IP": "1",
        }

    def answer(self, route: Route, parts: tuple[str, ...], asked: Asked) -> Response:
        name, query = route.endpoint, asked.query
        if name in self.WHOLE:
            return Response(body=self.rows(name, *(parts or (query["wsId"],))))
        if name in ("change_requests", "users"):
            return self.marked(name, [row for row in self.rows(name) if self.listed(name, row, query)], query)
        if name == "flag_sets":
            return self.marked(name, self.rows(name, query["workspace_id"]), query)
        if name == "segments_keys":
            if parts not in self.store[name]:
                return self.error(404)
            offset, limit = int(query.get("offset", 0)), min(int(query.get("limit", 100)), 100)
            rows = self.rows(name, *parts)
            return Response(
                body={
                    "keys": cut(rows, start=offset, limit=limit),
                    "openChangeRequestId": None,
                    "count": len(rows),
                    "offset": offset,
                    "limit": limit,
                }
            )
        rows = self.rows(name, *(parts or ALONE))
        offset = int(query.get("offset", 0))
        limit = min(int(query.get("limit", 20)), LARGEST.get(name, 50))
        page = cut(rows, start=offset, limit=limit)
        return Response(body={"objects": page, "offset": offset, "limit": limit, "totalCount": len(rows)})

    def listed(self, name: str, row: dict[str, Any], query: dict[str, str]) -> bool:
        if name == "users":
            return row["status"] == query["status"] if "status" in query else row["status"] != "PENDING"
        return bool(row["status"] == query.get("status", "REQUESTED"))

    def marked(self, name: str, rows: Rows, query: dict[str, str]) -> Response:
        """A page by marker; ``offset`` is not looked at."""
        limit = min(int(query.get("limit", 50)), LARGEST[name])
        start = int(query["after"].removeprefix("m")) if query.get("after") else 0
        end = start + limit
        return Response(
            body={
                "data": cut(rows, start=start, limit=limit),
                "nextMarker": f"m{end}" if end < len(rows) else None,
                "previousMarker": f"m{max(0, start - limit)}" if start else None,
                "limit": limit,
                "count": len(rows[start:end]),
            }
        )


def change_request(n: int) -> dict[str, Any]:
    return {
        "id": f"cr-{n}",
        "title": f"Change {n}",
        "status": "REQUESTED" if n < 230 else STATUSES[n % 6],
        "split": {"id": f"ws-0-flag-{n % 50}", "name": f"flag_{n % 50}"},
        "workspace": {"id": "ws-0"},
        "comments": [{"comment": "please", "user": "u1@example.com", "timestamp": EPOCH_MS + n}],
    }


def definition(n: int, stage: str) -> dict[str, Any]:
    return {
        "name": f"flag_{n}",
        "environment": {"id": stage, "name": stage},
        "killed": n % 9 == 0,
        "treatments": [{"name": "on"}, {"name": "off"}],
        "defaultTreatment": "off",
        "trafficAllocation": 100,
        "creationTime": EPOCH_MS + n,
        "lastUpdateTime": EPOCH_MS + 5000 * n,
    }


def segment(n: int, kind: str, workspace: str) -> dict[str, Any]:
    return {
        "name": f"{kind} {n}",
        "description": None if n % 2 else "some customers",
        "trafficType": {"id": f"{workspace}-user", "name": "user"},
        "creationTime": EPOCH_MS + n,
        "tags": [{"name": "beta"}] if n % 3 else None,
    }


def large(n: int, environment: str) -> dict[str, Any]:
    return {
        "id": f"{environment}-large-{n}",
        "name": f"large {n}",
        "environment": {"id": environment, "name": ""},
        "trafficType": {"id": f"{environment.rpartition('-')[0]}-user", "name": "user"},
        "creationTime": EPOCH_MS + n,
    }


def rule_based(n: int, environment: str) -> dict[str, Any]:
    matcher = {"type": "IN_LIST_STRING", "attribute": "plan", "strings": ["gold", f"tier {n}"]}
    return {
        "name": f"rules {n}",
        "environment": {"id": environment, "name": ""},
        "trafficType": {"id": f"{environment.rpartition('-')[0]}-user", "name": "user"},
        "creationTime": EPOCH_MS + n,
        "excludedKeys": ["key-7"] if n % 4 else [],
        "excludedSegments": [{"name": "segment 0/a", "type": "standard"}],
        "rules": [{"condition": {"combiner": "AND", "matchers": [matcher]}}],
    }


def attribute(n: int) -> dict[str, Any]:
    return {
        "id": f"attribute_{n}",
        "displayName": f"Attribute {n}",
        "description": "",
        "dataType": ("STRING", "NUMBER", "DATETIME", "SET")[n % 4],
        "isSearchable": n % 2 == 0,
        "suggestedValues": ["gold", "silver"] if n % 4 == 0 else [],
    }
