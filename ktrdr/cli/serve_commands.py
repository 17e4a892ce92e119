"""`ktrdr serve` and `ktrdr worker`: processes that run until they are stopped."""

import os
import sys
from typing import Annotated

import typer

from ktrdr.cli.options import Json, command_group
from ktrdr.config import DEFAULT_HOST, DEFAULT_PORT

app = command_group("Serve the API, run workers.")


@app.command("serve")
def serve(
    host: Annotated[str, typer.Option(help="Where to listen; any but loopback needs KTRDR_API_TOKEN.")] = DEFAULT_HOST,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = DEFAULT_PORT,
    workers: Annotated[int, typer.Option(min=0, max=64, help="Worker processes; they live as long as it does.")] = 1,
    as_json: Json = False,
) -> None:
    """Serve the HTTP API of this workspace, with workers, until Ctrl-C.

    Commands in the same workspace find this server by themselves. Work that a stop cuts off goes on at the next start.
    """
    from ktrdr.cli.serve_action import ServeOptions, serve_workspace

    serve_workspace(ServeOptions(host, port, workers, as_json))


@app.command("worker")
def worker(
    queues: Annotated[
        str, typer.Option(metavar="NAMES", help="Which queues to serve: cycles, compute or both.")
    ] = "cycles,compute",
    concurrency: Annotated[
        int, typer.Option(min=1, max=256, metavar="N", help="Trainings and backtests at once; they share the cores.")
    ] = 1,
    as_json: Json = False,
) -> None:
    """Run one worker until Ctrl-C; it says on stdout, as JSON, when it takes work. Its log is stderr.

    Workers on other machines share a PostgreSQL database (KTRDR_DATABASE_URL) and the workspace's folder.
    """
    from ktrdr.connect.worker_process import ALL_QUEUES

    del as_json  # what a worker says on stdout is JSON anyway
    if unknown := {name.strip() for name in queues.split(",")} - ALL_QUEUES:
        names = ", ".join(sorted(ALL_QUEUES))
        raise typer.BadParameter(f"need some of {names}, was {', '.join(map(repr, sorted(unknown)))}")
    command = [sys.executable, "-m", "ktrdr.worker", "--queues", queues, "--concurrency", str(concurrency)]
    os.execv(sys.executable, command)
