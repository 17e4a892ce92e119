"""How a command reaches the API: a server that was named, the workspace's own, or none but this process."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import httpx

from ktrdr.client.api_client import ApiClient
from ktrdr.client.token import token_headers
from ktrdr.config import AccessSettings, Settings
from ktrdr.connect.server_file import find_server
from ktrdr.connect.worker_process import WorkerKeeper
from ktrdr.errors import InvalidInput

Host = Callable[[Settings], AbstractAsyncContextManager[httpx.AsyncClient]]
_TIMEOUT = httpx.Timeout(60.0, connect=5.0)


@dataclass(frozen=True, slots=True)
class Connection:
    """A client, and where what it talks to lives. `server_url` is None when that is this process."""

    client: ApiClient
    server_url: str | None
    keeper: WorkerKeeper | None

    @property
    def is_embedded(self) -> bool:
        """Whether the app lives in this process, so that work stops when it ends."""
        return self.server_url is None

    async def ensure_worker(self) -> None:
        """See to it that somebody works. A server does so itself.

        Raises:
            KtrdrError: A worker cannot start (`worker_failed`).
        """
        if self.keeper is not None:
            await self.keeper.ensure_worker()


@asynccontextmanager
async def connect(settings: Settings, host: Host, *, will_work: bool) -> AsyncIterator[Connection]:
    """Yield a connection: to KTRDR_API_URL if given, to a running server of the workspace, or to this process.

    Args:
        settings: Name the workspace and, if so, the server.
        host: Hosts the app in this process, `hosted_app`. Handed in, so that whoever finds a server need not import
            the whole API, which takes seconds.
        will_work: Work will be started at once: where a worker is needed, let it start while the app does.

    Raises:
        ServerUnreachable: A server holds the workspace and does not come up.
        WorkspaceUnusable: The folder or its database cannot be used.
    """
    url = settings.api_url
    if url is None:
        server = find_server(settings.state_folder)
        url = None if server is None else server.url
    keeper = WorkerKeeper(settings) if url is None else None
    try:
        if keeper is not None and will_work:
            keeper.begin_worker()
        async with host(settings) if url is None else _remote(url, settings.access) as http:
            yield Connection(ApiClient(http), url, keeper)
    finally:
        if keeper is not None:
            keeper.close()


def _remote(url: str, access: AccessSettings) -> httpx.AsyncClient:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise _no_address(url, f" ({error})") from None
    if address.scheme not in ("http", "https") or not address.host:
        raise _no_address(url)
    # A proxy of the environment must not be asked for an address on this machine.
    return httpx.AsyncClient(base_url=address, headers=token_headers(access.token), timeout=_TIMEOUT, trust_env=False)


def _no_address(url: str, why: str = "") -> InvalidInput:
    return InvalidInput(f"KTRDR_API_URL: need an address such as http://127.0.0.1:8000, was {url!r}{why}")
