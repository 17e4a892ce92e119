"""The process behind `ktrdr mcp`, a process of its own: `python -m ktrdr.mcp`, the workspace from the environment."""

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence
from typing import NoReturn

from ktrdr.config import DEFAULT_HOST, DEFAULT_MCP_PORT, load_settings
from ktrdr.connect.http_server import check_loopback, listen
from ktrdr.errors import InvalidInput, KtrdrError, ServerUnreachable
from ktrdr.mcp.transports import serve_http, serve_stdio
from ktrdr.telemetry.logs import configure_logging

_logger = logging.getLogger("ktrdr.mcp")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Serve until the client or a signal ends it, and exit with the code that any `ktrdr` command would."""
    configure_logging()
    try:
        _serve(arguments)
        sys.exit(0)
    except KtrdrError as error:
        sys.stderr.write(f"ktrdr: {error.message}\n")
        sys.exit(2 if isinstance(error, InvalidInput) else 3 if isinstance(error, ServerUnreachable) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # the outermost frame of the process
        _logger.exception("ktrdr mcp broke")
        sys.stderr.write(f"ktrdr: internal error, {type(error).__name__}; the trace is above\n")
        sys.exit(1)


def _serve(arguments: Sequence[str] | None) -> None:
    parser = argparse.ArgumentParser(prog="ktrdr mcp", description="Serve MCP clients.")
    parser.add_argument("--transport", choices=("stdio", "http"), default="stdio")
    parser.add_argument("--host", default=DEFAULT_HOST)
    parser.add_argument("--port", type=int, default=DEFAULT_MCP_PORT)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    settings = load_settings()
    if options.transport == "stdio":
        asyncio.run(serve_stdio(settings))
        return
    check_loopback(options.host)
    with listen(options.host, options.port) as listener:
        asyncio.run(serve_http(settings, listener, as_json=options.json))


if __name__ == "__main__":
    main()
