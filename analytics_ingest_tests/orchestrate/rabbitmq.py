"""Virtual hosts on the RabbitMQ of this machine."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

ADDRESS = "127.0.0.1:5672"


@contextmanager
def virtual_host(user: str = "guest", password: str = "") -> Iterator[str]:
    """A virtual host for the while; gives its name. Without RabbitMQ the test is skipped, but not in CI.

    Args:
        user: The user that may use it; one that is not ``guest`` is there for the while as well.
        password: The password of such a user.
    """
    name = f"analytics_ingest_{uuid.uuid4().hex[:12]}"
    try:
        _control("add_vhost", name)
    except (OSError, subprocess.SubprocessError) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no RabbitMQ: {error}")
    try:
        if user != "guest":
            _control("add_user", user, password)
        _control("set_permissions", "--vhost", name, user, ".*", ".*", ".*")
        yield name
    finally:
        if user != "guest":
            _control("delete_user", user)
        _control("delete_vhost", name)


def _control(*command: str) -> None:
    subprocess.run(["rabbitmqctl", "--quiet", *command], check=True, capture_output=True, timeout=60)
