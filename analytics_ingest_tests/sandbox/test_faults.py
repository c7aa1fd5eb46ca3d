"""Faults that the sandbox puts in on request: wrong, late, broken and missing answers."""

import concurrent.futures

import pytest
import requests

from analytics_ingest.sandbox.options import Fault
from analytics_ingest_tests.sandbox.reader import Reader

GATES = ("experimentation", "/v1/gates")


def fault(**more):
    return Fault(api="experimentation", path="^/v1/gates$", **more)


def test_a_status_for_ever_on_one_path_of_one_api(shared_sandbox, reader):
    shared_sandbox.options.faults.append(fault(status=503))
    answers = [reader.get(*GATES) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {503}
    assert answers[0].json() == {"error": "Service Unavailable", "status": 503}
    assert reader.get("experimentation", "/v1/tags").status_code == 200
    assert reader.get("project_planning", "/v1/epics").status_code == 200
    assert shared_sandbox.options.faults[0].hits == 3


def test_skip_and_times(shared_sandbox, reader):
    shared_sandbox.options.faults.append(fault(skip=1, times=2))
    assert [reader.get(*GATES).status_code for _ in range(5)] == [200, 500, 500, 200, 200]
    assert shared_sandbox.options.faults[0].hits == 2


def test_the_first_fault_that_strikes_wins(shared_sandbox, reader):
    shared_sandbox.options.faults += [fault(status=502, times=1), fault(status=504)]
    assert [reader.get(*GATES).status_code for _ in range(2)] == [502, 504]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", ""),
        ("<html>maintenance</html>", "<html>maintenance</html>"),
        ({"error": "nope"}, '{"error":"nope"}'),
        (b"\xef\xbb\xbf{}", "\ufeff{}"),
    ],
)
def test_a_body_of_ones_own_with_a_200(shared_sandbox, reader, body, text):
    shared_sandbox.options.faults.append(fault(status=200, body=body, content_type="text/html; charset=utf-8"))
    answer = reader.get(*GATES)
    assert (answer.status_code, answer.content.decode()) == (200, text)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


def test_headers_of_ones_own(shared_sandbox, reader):
    shared_sandbox.options.faults.append(fault(status=429, headers={"Retry-After": "2"}))
    answer = reader.get(*GATES)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")


def test_no_content_has_no_body(shared_sandbox, reader):
    shared_sandbox.options.faults.append(fault(status=204))
    answer = reader.get(*GATES)
    assert (answer.status_code, answer.content) == (204, b"")


def test_a_reset_closes_the_connection_without_an_answer(shared_sandbox, reader):
    shared_sandbox.options.faults.append(fault(kind="reset", times=1))
    with pytest.raises(requests.ConnectionError):
        reader.get(*GATES)
    assert shared_sandbox.requests[0].status is None
    assert reader.get(*GATES).status_code == 200


def test_drip_sends_the_whole_answer_in_pieces(shared_sandbox, reader):
    whole = reader.get(*GATES).content
    shared_sandbox.options.faults.append(fault(kind="drip", seconds=0.5, times=1))
    headers = {"api_key": shared_sandbox.options.api_keys["experimentation"], "accept-encoding": "identity"}
    url = shared_sandbox.base_url("experimentation") + "/v1/gates"
    with requests.get(url, headers=headers, stream=True, timeout=10) as answer:
        pieces = list(iter(answer.raw.read1, b""))
    assert b"".join(pieces) == whole
    assert len(pieces) > 1


def test_truncate_breaks_off_before_the_announced_end(shared_sandbox, reader):
    shared_sandbox.options.faults.append(fault(kind="truncate", times=1))
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        reader.get(*GATES)
    assert reader.get(*GATES).status_code == 200


def test_half_is_broken_json_that_looks_whole(shared_sandbox, reader):
    whole = reader.get(*GATES).content
    shared_sandbox.options.faults.append(fault(kind="half"))
    answer = reader.get(*GATES)
    assert answer.status_code == 200
    assert answer.content == whole[: len(whole) // 2]
    with pytest.raises(requests.exceptions.JSONDecodeError):
        answer.json()


@pytest.mark.parametrize(("kind", "status"), [("delay", 200), ("hang", 504)])
def test_late_answers(shared_sandbox, reader, kind, status):
    shared_sandbox.options.faults.append(fault(kind=kind, seconds=0.01, status=504))
    assert reader.get(*GATES).status_code == status


@pytest.mark.parametrize("kind", ["delay", "hang"])
def test_a_hanging_request_does_not_hold_up_others(sandbox, kind):
    server, reader = sandbox, Reader(sandbox)
    server.options.faults.append(fault(kind=kind, seconds=30))
    url = f"{server.base_url('experimentation')}/v1/gates"
    headers = {"api_key": server.options.api_keys["experimentation"]}
    with pytest.raises(requests.Timeout):
        requests.get(url, headers=headers, timeout=0.1)
    assert reader.get("experimentation", "/v1/tags").status_code == 200


def test_paths_are_matched_below_the_base_url(shared_sandbox, reader):
    shared_sandbox.options.faults.append(Fault(api="incident_response", path="^/incidents$"))
    assert reader.get("incident_response", "/incidents").status_code == 500
    assert reader.get("incident_response", "/dashboards").status_code == 200


def test_a_wrong_key_is_told_before_any_fault(shared_sandbox, reader):
    shared_sandbox.options.faults.append(fault())
    assert reader.get(*GATES, key="wrong").status_code == 401
    assert shared_sandbox.options.faults[0].hits == 0


def test_latency_and_requests_in_flight(shared_sandbox, reader):
    shared_sandbox.options.latency = 0.3
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: reader.get(*GATES), range(6)))
    assert {answer.status_code for answer in answers} == {200}
    assert shared_sandbox.requests.max_in_flight == {"experimentation": 6}
    assert max(record.in_flight for record in shared_sandbox.requests) == 6
    shared_sandbox.options.latency = 0
    shared_sandbox.requests.reset()
    reader.get(*GATES)
    assert shared_sandbox.requests[0].in_flight == 1
