"""Where completion finds names: the server if there is one, else the workspace. Nothing is hosted or waited for."""

import json
import sqlite3
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from ktrdr.client.token import token_headers
from ktrdr.config import Settings, load_settings
from ktrdr.connect.server_file import peek_server
from ktrdr.errors import KtrdrError
from ktrdr.operations.recent import recent_operation_ids

_PATIENCE_S = 1.0


class Unanswered(Exception):
    """Nobody could say."""


def newest_operation_ids(limit: int) -> list[str]:
    """Return ids, newest first.

    Raises:
        Unanswered: They cannot be had in a moment.
    """
    try:
        settings = load_settings()
        url = settings.api_url or _server_url(settings)
        if url is not None:
            return _ids_of_server(url, settings, limit)
        scheme, _, path = settings.database_url.partition(":///")
        return recent_operation_ids(Path(urllib.parse.unquote(path)), limit) if scheme == "sqlite" else []
    except (KtrdrError, OSError, ValueError, KeyError, TypeError, sqlite3.Error):
        raise Unanswered from None


def strategy_names() -> list[str]:
    """Return the names of stored strategies, those of the workspace even where a server was named.

    Raises:
        Unanswered: The settings are wrong.
    """
    try:
        return sorted(path.parent.name for path in load_settings().strategies_folder.glob("*/strategy.yaml"))
    except (KtrdrError, OSError):
        raise Unanswered from None


def _server_url(settings: Settings) -> str | None:
    server = peek_server(settings.state_folder)
    return None if server is None else server.url


def _ids_of_server(url: str, settings: Settings, limit: int) -> list[str]:
    request = urllib.request.Request(
        f"{url}/api/v1/operations?limit={limit}", headers=token_headers(settings.access.token)
    )
    directly = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with directly.open(request, timeout=_PATIENCE_S) as answer:
        return [operation["operation_id"] for operation in json.load(answer)["operations"]]
