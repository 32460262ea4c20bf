"""A filter before the explorer's server: only requests of its own page pass, of all that Gradio answers."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

NEEDED = re.compile(
    r"/|/(login|logout|theme\.css|favicon\.ico|manifest\.json)/?|/(assets|static)/(?!.*\.\.)[\w./@-]+"
    r"|/gradio_api/(info|startup-events|login_check|user|heartbeat/\w+|run/\w+|theme\.css)/?"
)
"""Paths that the page asks for. Not among them: files by path, uploads, fetching of addresses for others, component
servers, streams, monitoring."""
POLICY = b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"
"""Content-Security-Policy: the browser fetches from nowhere else; Gradio's page has scripts and styles in it."""
LARGEST = 1 << 16
"""The most bytes that a call may have: room for the values of some thousand sliders."""


class Guard:
    """ASGI middleware: what NEEDED doesn't name is 404, and a call of a function with more than plain values is 400.

    Args:
        app: the application behind it.
    """

    def __init__(self, app: Callable[[Message, Receive, Send], Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it.

        Args:
            scope: type and path of the request (ASGI specification).
            receive: gives the parts of its body.
            send: takes the parts of the answer.
        """
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] != "http" or not NEEDED.fullmatch(scope["path"]):
            await refuse(send, 404)
        elif "/run/" in scope["path"] and not plain(body := await whole_body(receive)):
            await refuse(send, 400)
        elif "/run/" in scope["path"]:
            await self.app(scope, once(body, receive), with_policy(send))
        else:
            await self.app(scope, receive, with_policy(send))


def plain(body: bytes) -> bool:
    """Whether a call holds texts and numbers alone: in lists and mappings Gradio follows paths and addresses.

    Example:
        >>> plain(b'{"data": ["", 3, 0.5]}'), plain(b'{"data": [{"path": "/etc/passwd"}]}')
        (True, False)
    """
    try:
        call = json.loads(body)
    except (ValueError, RecursionError):
        return False
    data = call.get("data") if isinstance(call, dict) else None
    return isinstance(data, list) and not any(isinstance(value, dict | list) for value in data)


async def whole_body(receive: Receive) -> bytes:
    """The body of a request; empty where it is larger than LARGEST."""
    body, more = b"", True
    while more and len(body) <= LARGEST:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body if len(body) <= LARGEST else b""


def once(body: bytes, receive: Receive) -> Receive:
    """Receive a body once more.

    Args:
        body: that was read already.
        receive: what comes after it.

    Returns:
        Gives the body, then what `receive` gives.
    """
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again


def with_policy(send: Send) -> Send:
    """Send answers with POLICY among their headers."""

    async def add_policy(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"content-security-policy", POLICY)]
        await send(message)

    return add_policy


async def refuse(send: Send, status: int) -> None:
    """Answer without content.

    Args:
        send: takes the answer.
        status: of HTTP.
    """
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
