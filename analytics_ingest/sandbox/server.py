"""The sandbox as a server on a port of this machine, in a thread of its own."""

from __future__ import annotations

import signal
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

import uvicorn

from analytics_ingest.sandbox.asgi import SandboxApp
from analytics_ingest.sandbox.options import Options
from analytics_ingest.sandbox.routes import APIS, BASE_PATHS
from analytics_ingest.sandbox.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from analytics_ingest.sandbox.request_log import RequestLog

START_TIMEOUT = 30.0
"""Seconds."""


class SandboxServer:
    """Serves a world on a port, between ``start`` and ``stop`` or as a context manager.

    Attributes:
        world: The rows; by default with the default seed and scale.
        options: How the server behaves; can be changed while it runs.
        host: The address.
        port: The port; 0 becomes a free port at the first start, and stays that port after a restart.
    """

    def __init__(
        self,
        world: World | None = None,
        options: Options | None = None,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
    ) -> None:
        self.world = world or World()
        self.options = options or Options()
        self.host = host
        self.port = port
        self._app = SandboxApp(self.world, self.options)
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def requests(self) -> RequestLog:
        """The log of every request that reached an API."""
        return self._app.request_log

    @property
    def url(self) -> str:
        """The server's root, without a trailing slash."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def base_url(self, api: str) -> str:
        """The base URL that clients of an API are configured with.

        Raises:
            KeyError: There is no such API.
        """
        return self.url + BASE_PATHS[api]

    def environment(self) -> dict[str, str]:
        """The environment variables that configure base URL and key of all five APIs, without a profile."""
        settings = {}
        for api in APIS:
            settings[f"SOURCES__{api.upper()}__BASE_URL"] = self.base_url(api)
            settings[f"SOURCES__{api.upper()}__API_KEY"] = self.options.api_keys[api]
            settings[f"SOURCES__{api.upper()}__PROFILE"] = "none"
        return settings

    def start(self) -> None:
        """Listens on the port, and returns once the server accepts requests.

        Raises:
            OSError: The port is in use.
            RuntimeError: The server runs already, or does not start within 30 seconds.
        """
        if self._thread is not None:
            raise RuntimeError("the sandbox server runs already")
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.host, self.port))
        except OSError:
            listener.close()
            raise
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            self._app,
            lifespan="off",
            access_log=False,
            log_level="warning",
            log_config=None,
            proxy_headers=False,
            server_header=False,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="sandbox-server", daemon=True
        )
        self._thread.start()
        until = time.monotonic() + START_TIMEOUT
        while not self._server.started:
            if time.monotonic() > until or not self._thread.is_alive():
                self.stop()
                raise RuntimeError("the sandbox server did not come up")
            time.sleep(0.005)

    def stop(self) -> None:
        """Closes the port and all connections, and waits for the end of the thread; can be called twice."""
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join()
        self._server = self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGINT or SIGTERM sets within the block, instead of ending the process.

    Must be entered in the main thread: Python handles signals there only.
    """
    stopped = threading.Event()

    def stop(_: int, __: FrameType | None) -> None:
        stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
