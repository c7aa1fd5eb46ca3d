"""A small client that reads whole endpoints over HTTP, parents first."""

import itertools
import re
from urllib.parse import quote

import requests

from analytics_ingest.sandbox.routes import ROUTES

BEARER = {"incident_response", "feature_management"}
PAGE_SIZES = {
    "experimentation": 100,
    "incident_response": 50,
    "project_planning": 25,
    "feature_management": 50,
}
STORIES = ("epics_stories", "groups_stories", "iterations_stories")

# Child endpoint: its parent, and the parent's fields that fill its path.
PARENTS = {
    "dynamic_configs_versions": ("dynamic_configs", ["id"]),
    "dynamic_configs_rules": ("dynamic_configs", ["id"]),
    "events_metrics": ("events", ["name"]),
    "gates_rules": ("gates", ["id"]),
    "segments_ids": ("segments", ["id"]),
    "categories_milestones": ("categories", ["id"]),
    "categories_objectives": ("categories", ["id"]),
    "epics_comments": ("epics", ["id"]),
    "epics_stories": ("epics", ["id"]),
    "groups_stories": ("groups", ["id"]),
    "iterations_stories": ("iterations", ["id"]),
    "milestones_epics": ("milestones", ["id"]),
    "objectives_epics": ("objectives", ["id"]),
    "pipeline_workflows": ("pipelines", ["id"]),
    "workflow": ("pipeline_workflows", ["id"]),
    "workflow_jobs": ("pipeline_workflows", ["id"]),
    "specific_project": ("projects", ["username", "reponame"]),
    "insights_metrics": ("projects", ["username", "reponame"]),
    "insights_branches": ("projects", ["username", "reponame"]),
    "segments": ("workspaces", ["id"]),
    "environments": ("workspaces", ["id"]),
    "traffic_types": ("workspaces", ["id"]),
    "feature_flags": ("workspaces", ["id"]),
}


def columns(path):
    names = re.findall(r"{(\w+)}", path)
    return ["workspace_id" if name in {"wsId", "workspaceId"} else name for name in names]


class Reader:
    """Reads from a running server with its keys; remembers the endpoints that it has read."""

    def __init__(self, server):
        self.server = server
        self.session = requests.Session()
        self.known = {}

    def get(self, api, path, *, key=None, **params):
        key = self.server.options.api_keys[api] if key is None else key
        headers = {"Authorization": f"Bearer {key}"} if api in BEARER else {"api_key": key}
        url = self.server.base_url(api).rstrip("/") + path
        return self.session.get(url, params=params, headers=headers, timeout=10)

    def read(self, api, endpoint):
        if (api, endpoint) not in self.known:
            self.known[api, endpoint] = list(self._rows(api, endpoint))
        return self.known[api, endpoint]

    def _rows(self, api, endpoint):
        path = ROUTES[api, endpoint].path
        for own in self._parents(api, endpoint):
            filled = re.sub(r"{\w+}", "{}", path).format(*(quote(str(own[name]), safe="") for name in columns(path)))
            for row in self.pages(api, endpoint, filled):
                if endpoint in {"gates_rules", "dynamic_configs_rules"}:
                    yield from ({**own, **rule} for rule in row["rules"])
                else:
                    yield {**own, **row}

    def _parents(self, api, endpoint):
        names = columns(ROUTES[api, endpoint].path)
        if not names:
            return [{}]
        if endpoint in {"stories_comments", "story_history"}:
            return [{"story_id": i} for i in {row["id"]: 0 for name in STORIES for row in self.read(api, name)}]
        if endpoint == "jobs":
            return [
                dict(zip(names, (*row["project_slug"].split("/")[-2:], row["job_number"]), strict=True))
                | {"project_slug": row["project_slug"]}
                for row in self.read(api, "workflow_jobs")
                if "job_number" in row
            ]
        if endpoint == "segments_keys":
            pairs = itertools.product(self.read(api, "environments"), self.read(api, "segments"))
            return [
                {"environment_id": environment["id"], "segment_name": segment["name"]}
                for environment, segment in pairs
                if environment["workspace_id"] == segment["workspace_id"]
            ]
        parent, fields = PARENTS[endpoint]
        return [dict(zip(names, (row[field] for field in fields), strict=True)) for row in self.read(api, parent)]

    def pages(self, api, endpoint, path):
        """Read a list until an empty page, a page that is not full at the total, or no cursor."""
        route = ROUTES[api, endpoint]
        token, got = None, 0
        for page in itertools.count(1):
            answer = self.get(api, path, **parameters(route, page, got, token))
            if endpoint == "segments_keys" and answer.status_code == 404:
                return
            assert answer.status_code == 200, answer.text
            body = answer.json()
            rows = body if route.rows == "$" else body[route.rows]
            if isinstance(rows, dict):
                yield rows
                return
            yield from rows
            got += len(rows)
            token = following(route, body)
            if route.paging in {"single_page", "cursor"}:
                if token is None:
                    return
            elif not rows or (got == total(route, body) and len(rows) < PAGE_SIZES[api]):
                return


def parameters(route, page, got, token):
    size = PAGE_SIZES.get(route.api)
    if route.name == "search_epics":
        return {"limit": size} | ({"next": token} if token else {})
    if route.paging == "cursor":
        return {"page-token": token} if token else {}
    if route.paging == "offset":
        return {"offset": got, "limit": size}
    if route.paging == "single_page":
        return {}
    if route.api == "experimentation":
        return {"page": page, "limit": size}
    return {"page[number]": page, "page[size]": size}


def following(route, body):
    if route.paging != "cursor" or route.rows == "$":
        return None
    return body["response"]["next"] if route.name == "search_epics" else body["next_page_token"]


def total(route, body):
    if route.rows == "$":
        return None
    if route.paging == "offset":
        return body.get("totalCount")
    if route.api == "experimentation":
        return body["pagination"].get("totalItems")
    return body["meta"].get("total_count")
