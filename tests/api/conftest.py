"""The real app on a real workspace, spoken to without a socket."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import settings

from ktrdr.api.app import close_app, create_app
from ktrdr.config import load_settings

# For `make fuzz`: known before pytest reads its options.
settings.register_profile("thorough", deadline=None, max_examples=300)


class AppClient:
    """Sends requests to an app, one after the other or all at once."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    def request(self, method: str, path: str, **options) -> httpx.Response:
        return self.together((method, path, options))[0]

    def get(self, path: str, **options) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options) -> httpx.Response:
        return self.request("POST", path, **options)

    def together(self, *requests: tuple[str, str, dict]) -> list[httpx.Response]:
        async def exchange() -> list[httpx.Response]:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=None) as http:
                sent = (http.request(method, path, **options) for method, path, options in requests)
                return list(await asyncio.gather(*sent))

        return asyncio.run(exchange())


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return tmp_path / "workspace"


@pytest.fixture
def open_client(workspace: Path) -> Iterator[Callable[..., AppClient]]:
    """A function that opens an app on the workspace, with more settings if need be."""
    apps: list[FastAPI] = []

    def open_with(**environment: str) -> AppClient:
        apps.append(create_app(load_settings({"KTRDR_WORKSPACE": str(workspace), **environment})))
        return AppClient(apps[-1])

    yield open_with
    for app in apps:
        close_app(app)


@pytest.fixture
def client(open_client: Callable[..., AppClient]) -> AppClient:
    return open_client()
