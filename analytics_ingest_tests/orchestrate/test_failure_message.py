"""Messages about failed runs: how large they are, and what foreign text in them can do."""

from __future__ import annotations

import json

import pytest

from analytics_ingest.apis.registry import APIS
from analytics_ingest.orchestrate.sensors.failure_message import FailedRun, message

MENTIONS = "<!channel> <http://127.0.0.1/x|pay here> @all ![x](http://127.0.0.1/y) ``` &amp;"


def runs(count: int, reason: str = "it failed") -> list[FailedRun]:
    endpoints = [f"experimentation/{name}" for name in APIS["experimentation"].by_name]
    return [
        FailedRun(run_id=f"run-{n}", job="j", apis=["experimentation"], endpoints=endpoints, reason=reason)
        for n in range(count)
    ]


@pytest.mark.parametrize("count", [1, 2, 60])
@pytest.mark.parametrize(
    "text",
    ["x" * 5_000, "\u4e2d" * 5_000, "\U0001f600" * 5_000, MENTIONS * 200],
    ids=["long", "wide", "wider", "marks"],
)
@pytest.mark.parametrize("place", ["reason", "names", "many names", "job"])
def test_a_message_is_bounded_whatever_failed(count: int, text: str, place: str) -> None:
    names = {"names": [text] * 3, "many names": [f"{n}{text[:9]}" for n in range(300)]}.get(place, [])
    failed = [
        FailedRun(
            run_id=f"run-{n}",
            job=text if place == "job" else "j",
            apis=names,
            endpoints=names,
            reason=text if place == "reason" else "it failed",
        )
        for n in range(count)
    ]
    for max_bytes in (8_000, 2_000, 500):
        sent = message(failed, max_bytes=max_bytes)
        assert len(json.dumps({"text": sent})) <= max_bytes
        assert sent.startswith(f"{count} run")
        shown = sent.count("\nrun run-")
        assert shown >= 1
        assert sent.count("```") == 2 * shown
        assert (f"the {count - shown} earlier ones are not shown" in sent) == (shown < count)


def test_foreign_text_has_no_effect_in_a_chat() -> None:
    text = message(runs(1, MENTIONS))
    reason = text.split("```")[1]

    assert not {"<", ">", "`"} & set(reason)
    assert "@all" not in reason
    assert "](" not in reason
    assert "&lt;!channel&gt;" in reason


def test_names_of_other_code_locations_and_control_characters_have_no_effect_in_a_chat() -> None:
    foreign = FailedRun(
        run_id="r", job="j", apis=["<!here>"], endpoints=["![x](a)\n@all"], reason="\x1b[31m\ud800\u202ea"
    )
    text = message([foreign])

    assert not {"<", ">", "\x1b", "\ud800", "\u202e"} & set(text)
    assert "](" not in text
    assert "@all" not in text
