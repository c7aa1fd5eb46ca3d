"""The forms in which the same rows are served."""

from datetime import UTC, datetime, timedelta

import pytest


def moment(value):
    return datetime.fromisoformat(value)


@pytest.fixture
def stored(shared_sandbox):
    return shared_sandbox.world.collection("project_planning", "epics")


@pytest.fixture
def epics(shared_sandbox, reader):
    def read(timestamps):
        shared_sandbox.options.timestamps = timestamps
        return reader.get("project_planning", "/v1/epics").json()["data"]

    return read


def test_iso_as_stored(stored, epics):
    assert epics("iso") == stored


def test_local_time_of_the_same_instant(stored, epics):
    for served, row in zip(epics("offset"), stored, strict=True):
        assert served["updated_at"].endswith("-07:00")
        assert moment(served["updated_at"]) == moment(row["updated_at"])
        assert moment(served["updated_at"]).utcoffset() == timedelta(hours=-7)
        assert served["name"] == row["name"]


def test_epoch_milliseconds(stored, epics):
    for served, row in zip(epics("epoch_ms"), stored, strict=True):
        assert isinstance(served["created_at"], int)
        assert datetime.fromtimestamp(served["created_at"] / 1000, UTC) == moment(row["created_at"])


def test_epoch_seconds_keep_fractions(stored, epics):
    for served, row in zip(epics("epoch_s"), stored, strict=True):
        assert datetime.fromtimestamp(served["created_at"], UTC) == moment(row["created_at"])
        assert isinstance(served["created_at"], float if "." in row["created_at"] else int)


def test_nested_timestamps_and_nulls(shared_sandbox, reader):
    shared_sandbox.options.timestamps = "epoch_ms"
    served = reader.get("incident_response", "/incidents", **{"page[size]": 200}).json()["data"]
    stored = shared_sandbox.world.collection("incident_response", "incidents")
    ends = [row["attributes"]["resolved_at"] for row in served]
    assert [end is None for end in ends] == [row["attributes"]["resolved_at"] is None for row in stored]
    assert {type(end) for end in ends if end is not None} == {int}


def test_project_slugs_without_a_prefix(shared_sandbox, reader):
    key = "continuous_integration"
    assert reader.get(key, "/v2/pipeline").json()["items"][0]["project_slug"] == "gh/shop-web/cart-service"
    shared_sandbox.options.slug_prefix = False
    assert reader.get(key, "/v2/pipeline").json()["items"][0]["project_slug"] == "shop-web/cart-service"
    job = reader.get(key, "/v2/project/shop-web/cart-service/job/1").json()
    assert job["project"]["slug"] == "shop-web/cart-service"
    rows = shared_sandbox.world.expected(key, "jobs", slug_prefix=False)
    assert {row["project_slug"].count("/") for row in rows} == {1}


def test_the_truth_without_a_prefix_is_what_is_read(shared_sandbox, reader):
    shared_sandbox.options.slug_prefix = False
    read = {(row["project_slug"], row["number"]): row for row in reader.read("continuous_integration", "jobs")}
    rows = shared_sandbox.world.expected("continuous_integration", "jobs", slug_prefix=False)
    assert read == {(row["project_slug"], row["number"]): row for row in rows}


def test_bare_values(shared_sandbox, reader):
    segment = shared_sandbox.world.collection("experimentation", "segments")[0]["id"]
    path = f"/v1/segments/{segment}/id_list"
    objects = reader.get("experimentation", path, limit=200).json()["data"]
    lists = shared_sandbox.world.collection("feature_management", "segments_keys")
    (environment, name), keys = next(iter(lists.items()))
    shared_sandbox.options.bare_values = True
    assert reader.get("experimentation", path, limit=200).json()["data"] == [row["id"] for row in objects]
    served = reader.get("feature_management", f"/v2/segments/{environment}/{name}/keys", limit=200).json()
    assert served == [row["key"] for row in keys]
