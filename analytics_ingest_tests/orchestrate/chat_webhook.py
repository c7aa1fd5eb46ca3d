"""A chat's webhook on localhost."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

SECRET_PATH = "/services/T0/B0/s3cret"


class ChatWebhook:
    """A chat's webhook: accepts messages, or responds with ``status`` and ``body``."""

    def __init__(self) -> None:
        self.received: list[str] = []
        self.status = 200
        self.body = b""
        self.sizes: list[int] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                hook.sizes.append(len(content))
                body = json.loads(content)
                if hook.status == 200:
                    assert self.path == SECRET_PATH
                    hook.received.append(body["text"])
                self.send_response(hook.status)
                if 300 <= hook.status < 400:
                    self.send_header("Location", f"{hook.url}/elsewhere")
                self.send_header("Content-Length", str(len(hook.body)))
                self.end_headers()
                self.wfile.write(hook.body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}{SECRET_PATH}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def requests(self) -> int:
        return len(self.sizes)
