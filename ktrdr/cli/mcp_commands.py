"""`ktrdr mcp`: the tools for a client of the Model Context Protocol."""

import os
import sys
from enum import StrEnum
from typing import Annotated

import typer

from ktrdr.cli.options import Json, command_group
from ktrdr.config import DEFAULT_HOST, DEFAULT_MCP_PORT

app = command_group("Serve clients of the Model Context Protocol.")


class Transport(StrEnum):
    """How a client reaches the tools."""

    STDIO = "stdio"
    HTTP = "http"


@app.command("mcp")
def mcp(
    transport: Annotated[
        Transport, typer.Option(help="stdio: the client starts this command. http: clients connect to it.")
    ] = Transport.STDIO,
    host: Annotated[
        str | None, typer.Option(help=f"http only: a loopback address; it serves no other.  [default: {DEFAULT_HOST}]")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help=f"http only: 0 takes any that is free.  [default: {DEFAULT_MCP_PORT}]"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Let an MCP client (Claude Desktop, Claude Code, ...) design, run, watch and read research cycles.

    It uses this workspace's server if there is one, and works by itself if not: cycles then run as long as it does.
    """
    if transport is Transport.STDIO and (host is not None or port is not None):
        raise typer.BadParameter("--host and --port need --transport http: over stdio there is no address")
    from ktrdr.connect.http_server import check_loopback

    check_loopback(host or DEFAULT_HOST)
    # -P: a folder `mcp` in the current one must not be taken for the library of this name.
    command = [sys.executable, "-P", "-m", "ktrdr.mcp", "--transport", transport.value]
    command += ["--host", host or DEFAULT_HOST, "--port", str(DEFAULT_MCP_PORT if port is None else port)]
    os.execv(sys.executable, [*command, *(["--json"] if as_json else [])])
