class Answer:
    """A response that is ready to be sent."""

    def __init__(
        self,
        status: int,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        content_type: str = _JSON,
    ) -> None:
        self.status = status
        self.body: bytes = body if isinstance(body, bytes) else orjson.dumps(body)
        if status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}:
            self.body = b""
        self.headers = {"content-type": content_type, **(headers or {})}

    def encoded(self, length: int) -> list[tuple[bytes, bytes]]:
        headers = {**self.headers, "content-length": str(length)}
        return [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]


def error_answer(status: int, message: str, **more: Any) -> Answer:
    return Answer(status, {"error": message, "status": status, **more})


class RateLimit:
    """A fixed window of requests for one API."""

    def __init__(self) -> None:
        self._began = -math.inf
        self._count = 0

    def refuse(self, options: Options) -> Answer | None:
        """Count a request; give the 429 if there are too many in this window."""
        if options.rate_limit is None:
            return None
        now = time.monotonic()
        if now - self._began >= options.rate_window:
            self._began, self._count = now, 0
        self._count += 1
        if self._count <= options.rate_limit:
            return None
        wait = self._began + options.rate_window - now
        seconds = max(1, math.ceil(wait))
        reset = math.ceil(time.time() + wait)
        headers = {
            "retry-after": {"retry-after": str(seconds)},
            "retry-after-date": {"retry-after": formatdate(reset, usegmt=True)},
            "x-ratelimit-reset": {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(reset)},
            "x-ratelimit-reset-delta": {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(seconds)},
            "none": {},
        }[options.rate_headers]
        return Answer(429, {"error": "rate limit exceeded", "status": 429}, headers=headers)


def fault_answer(fault: Fault) -> Answer:
    body = fault.body
    if body is None:
        body = {"error": HTTPStatus(fault.status).phrase, "status": fault.status}
    if isinstance(body, str):
        body = body.encode()
    return Answer(fault.status, body, headers=fault.headers, content_type=fault.content_type)


async def send_answer(record: Record, answer: Answer, send: Send) -> None:
    record.status = answer.status
    headers = answer.encoded(len(answer.body))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def send_half(record: Record, answer: Answer, send: Send) -> None:
    record.status = answer.status
    headers = answer.encoded(len(answer.body))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send(
        {"type": "http.response.body", "body": answer.body[: len(answer.body) // 2], "more_body": True}
    )


