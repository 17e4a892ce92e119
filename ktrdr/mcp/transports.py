"""How a client reaches the server: over the pipes of a process that it starts, or over HTTP on this machine."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from typing import cast

import anyio
from mcp.server.stdio import stdio_server
from mcp.server.transport_security import TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ktrdr.api.access import AccessPolicy
from ktrdr.api.edge import answer_refusal
from ktrdr.config import Settings
from ktrdr.connect.http_server import OrderlyServer, url_of
from ktrdr.errors import InvalidInput
from ktrdr.mcp.laboratory import open_laboratory
from ktrdr.mcp.server import create_server

HTTP_PATH = "/mcp"
_READ_BYTES = 64 * 1024


async def serve_stdio(settings: Settings) -> None:
    """Serve the client at stdin and stdout until it closes stdin, or until a signal says to end.

    Raises:
        InvalidInput: There is no stdin.
        KtrdrError: As `open_laboratory`.
    """
    if sys.stdin is None:
        raise InvalidInput("stdin is closed, and over stdio a client speaks there; start it from an MCP client")
    if sys.stdin.isatty():
        sys.stderr.write(
            "ktrdr mcp waits for an MCP client on stdin, and this is a terminal: put the command into the client's "
            "configuration, or use --transport http. Ctrl-D ends it.\n"
        )
    lines = InputLines(sys.stdin.fileno())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, lines.stop)
    async with open_laboratory(settings) as laboratory:
        server = create_server(laboratory)
        try:
            # Anything else that prints on stdout goes to stderr as long as this lasts.
            async with stdio_server(stdin=cast("anyio.AsyncFile[str]", lines)) as (incoming, outgoing):
                await server.run(incoming, outgoing, server.create_initialization_options())
        except* BrokenPipeError:
            pass  # the client has gone without a word


async def serve_http(settings: Settings, listener: socket.socket, *, as_json: bool) -> None:
    """Serve every client of this machine on a bound socket until a signal says to end.

    Raises:
        KtrdrError: As `open_laboratory`.
    """
    url = url_of(listener)
    port = listener.getsockname()[1]
    hosts = [f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")]
    # A web page of another origin, or of a name that only pretends to be this machine, is refused.
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=True, allowed_hosts=hosts, allowed_origins=[f"http://{host}" for host in hosts]
    )
    async with open_laboratory(settings) as laboratory:
        app = create_server(laboratory).streamable_http_app(streamable_http_path=HTTP_PATH, transport_security=security)
        sys.stderr.write(f"ktrdr serves {settings.workspace} to MCP clients at {url}{HTTP_PATH}. Ctrl-C stops it.\n")
        if as_json:
            address = {"url": f"{url}{HTTP_PATH}", "pid": os.getpid(), "workspace": str(settings.workspace)}
            sys.stdout.write(json.dumps(address) + "\n")
            sys.stdout.flush()
        listener.listen()  # before the server does: whoever has read the address may connect
        await OrderlyServer(_guarded(app, settings.access.token)).serve(sockets=[listener])


def _guarded(app: ASGIApp, token: str | None) -> ASGIApp:
    """Return an app that asks its clients for the API's token, where there is one: it acts in their name there."""
    if token is None:
        return app
    access = AccessPolicy(token)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        refusal = None
        if scope["type"] == "http":
            refusal = access.refusal(scope["method"], scope["path"], Headers(scope=scope))
        if refusal is None:
            await app(scope, receive, send)
        else:
            await answer_refusal(refusal, scope, receive, send)

    return serve


class InputLines:
    """The lines of a file descriptor. Waiting for one can be given up, which a thread that reads could not."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._woken = asyncio.Event()
        self._stopped = False

    def stop(self) -> None:
        """End the lines, as if the other side had closed."""
        self._stopped = True
        self._woken.set()

    async def __aiter__(self) -> AsyncIterator[str]:
        """Yield line after line until the end of the input."""
        rest = b""
        while chunk := await self._read():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line.decode(errors="replace")
        if rest and not self._stopped:
            yield rest.decode(errors="replace")

    async def _read(self) -> bytes:
        loop = asyncio.get_running_loop()
        try:
            loop.add_reader(self._descriptor, self._woken.set)
        except PermissionError:  # a plain file or /dev/null, which nobody has to wait for
            return b"" if self._stopped else os.read(self._descriptor, _READ_BYTES)
        try:
            await self._woken.wait()
        finally:
            loop.remove_reader(self._descriptor)
        if self._stopped:
            return b""
        self._woken.clear()
        return os.read(self._descriptor, _READ_BYTES)
