"""The app in this process, without a socket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from ktrdr.api.app import close_app, create_app
from ktrdr.client.token import token_headers
from ktrdr.config import Settings
from ktrdr.telemetry.logs import also_logging_to, api_log

# Any loopback name will do: no address is ever looked up.
_BASE_URL = "http://127.0.0.1"


@asynccontextmanager
async def hosted_app(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """Serve a workspace to the client that is yielded. What happens inside is logged to `.ktrdr/logs/api-HOST.log`.

    Raises:
        WorkspaceUnusable: The folder or its database cannot be used.
    """
    app = create_app(settings)
    try:
        with also_logging_to(api_log(settings.logs_folder)):
            # What breaks is answered as a problem document, as it would be over a socket.
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            headers = token_headers(settings.access.token)
            async with httpx.AsyncClient(
                transport=transport, base_url=_BASE_URL, headers=headers, timeout=None
            ) as http:
                yield http
    finally:
        close_app(app)
