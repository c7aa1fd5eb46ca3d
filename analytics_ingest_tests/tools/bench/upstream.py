"""An upstream of one endpoint with as many rows as one likes, in a process of its own: incidents, page by page."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

ROW = (
    '{{"id":"{n:08x}","title":"Incident {n} of the checkout service","severity":"sev{s}","status":"resolved",'
    '"started_at":"2026-01-{d:02}T10:00:00Z","created_at":"2026-01-{d:02}T10:00:00Z",'
    '"updated_at":"2026-01-{d:02}T11:{m:02}:00Z","summary":"{n} requests failed for {s} minutes","private":false,'
    '"services":["checkout","search"],"labels":{{"team":"t{s}","area":"a{m}"}},"minutes":{n},"user":{{"id":{s}}}}}'
)


def page(first: int, last: int) -> bytes:
    """A body with rows ``first`` to ``last``, the latter not included."""
    rows = ",".join(ROW.format(n=n, s=n % 5, d=n % 28 + 1, m=n % 60) for n in range(first, last))
    return f'{{"data":[{rows}]}}'.encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    rows = 0

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        size, number = int(asked["page[size]"][0]), int(asked["page[number]"][0])
        body = page(min(self.rows, size * (number - 1)), min(self.rows, size * number))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    Handler.rows = int(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    sys.stdout.write(f"http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()
