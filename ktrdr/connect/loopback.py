"""Serving HTTP to this machine, and to no other."""

import asyncio
import errno
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from ktrdr.api.edge import LOOPBACK_NAMES
from ktrdr.errors import InvalidInput, KtrdrError

# An open event stream would otherwise hold up the end for ever.
_GRACE_S = 2


class LoopbackServer(uvicorn.Server):
    """A server that ends on SIGINT and SIGTERM and, unlike uvicorn's, does not send itself the signal once more."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=_GRACE_S))

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take both signals as a wish to end in order."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def check_loopback(host: str) -> None:
    """Return if `host` is this machine alone.

    Raises:
        InvalidInput: Others could reach it.
    """
    if host not in LOOPBACK_NAMES:
        raise InvalidInput(
            f"--host: this version serves loopback addresses only ({', '.join(sorted(LOOPBACK_NAMES))}), was "
            f"{host!r}: any other needs KTRDR_API_TOKEN, which comes later. From another machine, use an SSH tunnel"
        )


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket; port 0 takes any that is free.

    Raises:
        InvalidInput: As `check_loopback`.
        KtrdrError: The port is in use, or the address cannot be used (`port_unavailable`).
    """
    check_loopback(host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        words = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
        raise KtrdrError(
            f"port {port} of {host} {words}; choose another with --port, or any free one with --port 0",
            reason="port_unavailable",
        ) from None
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the address of a bound socket as a URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
