"""What `ktrdr serve` does: one server of a workspace, its workers, and an orderly end of both."""

import asyncio
import logging
import os
import socket
from dataclasses import dataclass

import typer
from pydantic import BaseModel

from ktrdr.api.access import is_loopback_name
from ktrdr.api.app import close_app, create_app
from ktrdr.cli.exit_codes import ExitCode
from ktrdr.cli.output import print_document_line, say
from ktrdr.config import Settings, load_settings
from ktrdr.connect.http_server import OrderlyServer, listen, url_of
from ktrdr.connect.server_file import ServerRegistration, register_server
from ktrdr.connect.worker_process import HEALTHY_AFTER_S, WorkerProcess, start_worker_process
from ktrdr.errors import InvalidInput
from ktrdr.telemetry.logs import also_logging_to, api_log, configure_logging

_WORKER_POLL_S = 0.5
_FIRST_BACKOFF_S = 1.0
_MAX_BACKOFF_S = 30.0
_logger = logging.getLogger("ktrdr.serve")


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """How to serve."""

    host: str
    port: int
    workers: int
    as_json: bool


class Serving(BaseModel):
    """What a server says of itself when it is ready."""

    url: str
    pid: int
    workspace: str
    workers: int


def serve_workspace(options: ServeOptions) -> None:
    """Serve until stopped.

    Raises:
        InvalidInput: Others could reach the address, and there is no token (`token_needed`).
        Conflict: The workspace has a server.
        WorkspaceUnusable: The folder or its database cannot be used.
        KtrdrError: The port is in use, or no worker can start.
        typer.Exit: Stopped in order.
    """
    settings = load_settings()
    if settings.access.token is None and not is_loopback_name(options.host):
        raise InvalidInput(
            f"--host: other machines could reach {options.host!r}, so KTRDR_API_TOKEN must be set, here and for those "
            "who ask; `openssl rand -hex 32` makes one. Without it, serve 127.0.0.1 and use an SSH tunnel",
            reason="token_needed",
        )
    configure_logging()
    registration = register_server(settings.state_folder)
    try:
        with listen(options.host, options.port) as listener, also_logging_to(api_log(settings.logs_folder)):
            asyncio.run(_serve(settings, options, listener, registration))
    finally:
        registration.release()
    raise typer.Exit(ExitCode.OK)


async def _serve(
    settings: Settings, options: ServeOptions, listener: socket.socket, registration: ServerRegistration
) -> None:
    app = create_app(settings, is_loopback=is_loopback_name(options.host))
    server = OrderlyServer(app)
    crew = [_CrewMember(settings) for _ in range(options.workers)]
    try:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await _start_crew(crew, serving)
            while not server.started and not serving.done():
                await asyncio.sleep(0.02)
            if not serving.done():
                _announce(settings, options, listener, registration)
            while not serving.done():
                for member in crew:
                    member.keep_alive()
                await asyncio.sleep(_WORKER_POLL_S)
        finally:
            server.should_exit = True
            await serving
    finally:
        for member in crew:
            member.stop()
        close_app(app)


async def _start_crew(crew: list["_CrewMember"], serving: "asyncio.Task[None]") -> None:
    """Start all workers and wait until they work, or until the server is told to stop."""

    async def start_all() -> None:
        await asyncio.gather(*(member.start() for member in crew))

    starting = asyncio.create_task(start_all())
    await asyncio.wait({serving, starting}, return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        await starting
    else:
        starting.cancel()


def _announce(
    settings: Settings, options: ServeOptions, listener: socket.socket, registration: ServerRegistration
) -> None:
    url = url_of(listener)
    registration.announce(url)
    say(
        f"ktrdr serves {settings.workspace} at {url} with {options.workers} worker(s); "
        f"the API describes itself at {url}/api/v1/docs. Ctrl-C stops all."
    )
    if options.as_json:
        print_document_line(
            Serving(url=url, pid=os.getpid(), workspace=str(settings.workspace), workers=options.workers)
        )


class _CrewMember:
    """The place of one worker: whoever fills it is replaced when it dies, sooner the longer it lived."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process: WorkerProcess | None = None
        self._started_at = 0.0
        self._backoff_s = _FIRST_BACKOFF_S
        self._restart_at: float | None = None

    async def start(self) -> None:
        """Start the first worker of this place and wait until it works.

        Raises:
            KtrdrError: It cannot start (`worker_failed`).
        """
        self._begin()
        assert self._process is not None
        await self._process.wait_until_ready()

    def keep_alive(self) -> None:
        """Replace a dead worker when its time has come. Quick; call it often."""
        if self._process is None or self._process.is_alive:
            return
        now = asyncio.get_running_loop().time()
        if self._restart_at is None:
            if now - self._started_at >= HEALTHY_AFTER_S:
                self._backoff_s = _FIRST_BACKOFF_S
            _logger.error("%s; starting another in %.0f s", self._process.describe_end(), self._backoff_s)
            self._restart_at = now + self._backoff_s
            self._backoff_s = min(2 * self._backoff_s, _MAX_BACKOFF_S)
        elif now >= self._restart_at:
            self._process.stop()
            self._begin()

    def stop(self) -> None:
        """End the worker, if there is one."""
        if self._process is not None:
            self._process.stop()

    def _begin(self) -> None:
        self._process = start_worker_process(self._settings, starts_scheduled_cycles=True)
        self._started_at = asyncio.get_running_loop().time()
        self._restart_at = None
