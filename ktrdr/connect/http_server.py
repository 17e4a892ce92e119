"""A socket to serve HTTP on, and a server that ends in order."""

import asyncio
import errno
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from ktrdr.api.access import is_loopback_name
from ktrdr.errors import InvalidInput, KtrdrError

# An open event stream would otherwise hold up the end for ever.
_GRACE_S = 2


class OrderlyServer(uvicorn.Server):
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
    if not is_loopback_name(host):
        raise InvalidInput(
            f"--host: need a loopback address such as 127.0.0.1, was {host!r}; from another machine, use an SSH tunnel"
        )


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket; port 0 takes any that is free.

    Raises:
        KtrdrError: The port is in use, or the address cannot be used (`port_unavailable`).
    """
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
    """Return the address of a bound socket as a URL: on loopback where it listens on every address."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
