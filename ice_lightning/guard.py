"""What the explorer's server answers: the requests of its own page, and nothing else that Gradio offers."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

NEEDED = re.compile(
    r"/|/(login|logout|theme\.css|favicon\.ico)/?|/(assets|static)/(?!.*\.\.)[\w./@-]+"
    r"|/gradio_api/(info|startup-events|login_check|user|heartbeat/\w+|run/\w+|theme\.css)/?"
)
"""Without it: files by path, uploads, fetching of addresses for others, component servers, streams, monitoring."""
POLICY = "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'"
"""The browser fetches from nowhere else; Gradio's page has scripts and styles in it."""


class Guard:
    """ASGI middleware: what NEEDED doesn't name is 404.

    Args:
        app: the application behind it.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http" and NEEDED.fullmatch(scope["path"]):

            async def with_policy(message: Message) -> None:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message["headers"], (b"content-security-policy", POLICY.encode())]
                await send(message)

            await self.app(scope, receive, with_policy)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"not found"})
