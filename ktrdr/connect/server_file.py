"""Which server serves a workspace: a file that says where, and a lock that says whether it lives."""

import fcntl
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, JsonValue, ValidationError

from ktrdr.artifacts.files import write_json_atomically
from ktrdr.errors import Conflict, ServerUnreachable, WorkspaceUnusable

SERVER_FILE = "server.json"
LOCK_FILE = "server.lock"
# Whoever looks for a server holds the lock for an instant, which must not look like a second server.
_LOCK_PATIENCE_S = 1.0
# From taking the lock until it listens, a server opens the workspace, which may migrate a large database.
_ANNOUNCE_PATIENCE_S = 30.0
_PAUSE_S = 0.05


class ServerAddress(BaseModel):
    """Where a workspace's server listens."""

    url: str
    pid: int
    host: str


@dataclass(frozen=True, slots=True)
class ServerRegistration:
    """Makes this process the one server of a workspace until it is released or dies."""

    state_folder: Path
    _handle: int

    def announce(self, url: str) -> None:
        """Say where this server listens. Call it once connections are accepted."""
        address: dict[str, JsonValue] = {"url": url, "pid": os.getpid(), "host": socket.gethostname()}
        write_json_atomically(self.state_folder / SERVER_FILE, address)

    def release(self) -> None:
        """Stop being the workspace's server."""
        (self.state_folder / SERVER_FILE).unlink(missing_ok=True)
        os.close(self._handle)


def register_server(state_folder: Path) -> ServerRegistration:
    """Become the one server of a workspace.

    Raises:
        Conflict: It has one (`server_exists`).
        WorkspaceUnusable: The folder cannot be written.
    """
    try:
        state_folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(state_folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if not _lock_patiently(handle):
            os.close(handle)
            raise Conflict(
                f"another `ktrdr serve` serves this workspace already{_described(state_folder)}; use that one, or "
                "stop it first",
                reason="server_exists",
            )
        # A killed predecessor leaves its address behind; nobody may read it as ours.
        (state_folder / SERVER_FILE).unlink(missing_ok=True)
    except OSError as error:
        raise _unusable(state_folder, error) from error
    return ServerRegistration(state_folder, handle)


def find_server(state_folder: Path) -> ServerAddress | None:
    """Return where this workspace's server listens, None if this machine has none. Waits for one that just starts.

    Raises:
        ServerUnreachable: A server holds the workspace and does not say where it listens.
        WorkspaceUnusable: The folder cannot be read.
    """
    deadline = time.monotonic() + _ANNOUNCE_PATIENCE_S
    while _is_locked(state_folder):
        address = _read_address(state_folder)
        if address is not None:
            # Where machines share the folder: the loopback address of another one leads nowhere.
            return address if address.host == socket.gethostname() else None
        if time.monotonic() > deadline:
            raise ServerUnreachable(
                f"a server holds {state_folder.parent} but does not come up; look at its terminal, or stop it"
            )
        time.sleep(_PAUSE_S)
    return None


def peek_server(state_folder: Path) -> ServerAddress | None:
    """Return where this workspace's server listens if that can be said at once; raises as `find_server`."""
    return _read_address(state_folder) if _is_locked(state_folder) else None


def _lock_patiently(handle: int) -> bool:
    deadline = time.monotonic() + _LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_PAUSE_S)
        else:
            return True


def _is_locked(state_folder: Path) -> bool:
    try:
        handle = os.open(state_folder / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _unusable(state_folder, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(handle)


def _read_address(state_folder: Path) -> ServerAddress | None:
    try:
        return ServerAddress.model_validate_json((state_folder / SERVER_FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _described(state_folder: Path) -> str:
    address = _read_address(state_folder)
    return "" if address is None else f": {address.url} (process {address.pid})"


def _unusable(folder: Path, error: OSError) -> WorkspaceUnusable:
    return WorkspaceUnusable(
        f"cannot use {folder}: {error.strerror}. Check who owns it, or choose another folder with --workspace or "
        "KTRDR_WORKSPACE"
    )
