"""The app in this process, without a socket."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from logging.handlers import RotatingFileHandler

import httpx

from ktrdr.api.app import close_app, create_app
from ktrdr.client.token import token_headers
from ktrdr.config import Settings
from ktrdr.errors import WorkspaceUnusable
from ktrdr.telemetry.logs import MAX_FILE_BYTES, JsonFormatter

LOG_FILE = "ktrdr.log"
# Any loopback name will do: no address is ever looked up.
_BASE_URL = "http://127.0.0.1"


@asynccontextmanager
async def hosted_app(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Serve a workspace to the client that is yielded. What goes wrong inside is logged to `.ktrdr/ktrdr.log`.

    Raises:
        WorkspaceUnusable: The folder or its database cannot be used.
    """
    app = create_app(settings)
    try:
        settings.state_folder.mkdir(parents=True, exist_ok=True)  # with PostgreSQL it may not be there yet
    except OSError as error:
        close_app(app)
        raise WorkspaceUnusable(
            f"cannot create {settings.state_folder}: {error.strerror}. Choose another folder with --workspace or "
            "KTRDR_WORKSPACE"
        ) from error
    handler = RotatingFileHandler(
        settings.state_folder / LOG_FILE, maxBytes=MAX_FILE_BYTES, backupCount=1, delay=True, encoding="utf-8"
    )
    handler.setLevel(logging.WARNING)
    handler.setFormatter(JsonFormatter())
    logging.getLogger().addHandler(handler)
    try:
        # What breaks is answered as a problem document, as it would be over a socket.
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        headers = token_headers(settings.access.token)
        async with httpx.AsyncClient(transport=transport, base_url=_BASE_URL, headers=headers, timeout=None) as http:
            yield http
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
        close_app(app)
