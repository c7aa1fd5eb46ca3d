"""The sandbox on a port of this machine: in a thread for tests and demos, or as a process of its own."""

from __future__ import annotations

import signal
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

import uvicorn

from analytics_ingest.sandbox.asgi import create_app
from analytics_ingest.sandbox.options import Options
from analytics_ingest.sandbox.routes import APIS, BASE_PATHS
from analytics_ingest.sandbox.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from analytics_ingest.sandbox.journal import Journal

_START_TIMEOUT = 30.0


class SandboxServer:
    """Serves a world on a port, between `start` and `stop` or as a context manager.

    Without a world it makes one with the default seed and scale. Port 0 takes a free port and keeps it over
    restarts. `url` is the server's root, `requests` the record of all requests, `options` may be changed
    while it runs.
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
        self._app = create_app(self.world, self.options)
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def requests(self) -> Journal:
        """The record of every request that reached an API."""
        return self._app.journal

    @property
    def url(self) -> str:
        """The server's root, without a trailing slash."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def base_url(self, api: str) -> str:
        """Give the base URL that clients of an API are configured with; raises `KeyError` for no such API."""
        return self.url + BASE_PATHS[api]

    def environment(self) -> dict[str, str]:
        """Give the environment variables that configure base URL and key of all five APIs, without a profile."""
        settings = {}
        for api in APIS:
            settings[f"SOURCES__{api.upper()}__BASE_URL"] = self.base_url(api)
            settings[f"SOURCES__{api.upper()}__API_KEY"] = self.options.api_keys[api]
            settings[f"SOURCES__{api.upper()}__PROFILE"] = "none"
        return settings

    def start(self) -> None:
        """Listen, and return once requests are answered.

        Raises `OSError` if the port is taken, `RuntimeError` if it runs already or does not come up within
        30 s.
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
        until = time.monotonic() + _START_TIMEOUT
        while not self._server.started:
            if time.monotonic() > until or not self._thread.is_alive():
                self.stop()
                raise RuntimeError("the sandbox server did not come up")
            time.sleep(0.005)

    def stop(self) -> None:
        """Close the port and all connections, and wait until the thread has ended; may be called twice."""
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
    """An event that SIGINT or SIGTERM sets, from here on until the end of the block, in place of ending the process.

    Must be entered in the main thread, as only that one is given signals.
    """
    over = threading.Event()

    def leave(_: int, __: FrameType | None) -> None:
        over.set()

    before = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield over
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
