"""Requests to a chat's webhook: their URL is a secret."""

from __future__ import annotations

import traceback

import pytest

from analytics_ingest.orchestrate.sensors.webhook import send
from analytics_ingest_tests.orchestrate.chat_webhook import SECRET_PATH, ChatWebhook


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1",
        "http://" + "a" * 70 + ".example",
        "http://[::1",
        "ftp://127.0.0.1",
        "127.0.0.1",
        "http://\u00a0",
    ],
)
def test_the_url_is_never_shown(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"), pytest.raises(RuntimeError, match="cannot be reached") as error:
        send(f"{url}{SECRET_PATH}", "text")
    assert "s3cret" not in "".join(traceback.format_exception(error.value))
    assert "s3cret" not in caplog.text


def test_the_path_is_not_logged_when_a_message_is_received(
    webhook: ChatWebhook, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"):
        assert send(webhook.url, "text") == 200
    assert "s3cret" not in caplog.text
