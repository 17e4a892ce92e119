"""A PostgreSQL server of one's own: a cluster in a temporary folder, on a free port of the loopback address."""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HOW_TO_INSTALL = "no PostgreSQL server binaries in /usr/lib/postgresql/*/bin: apt-get install postgresql"
_FAST = "-c fsync=off -c full_page_writes=off -c synchronous_commit=off"


def server_binaries() -> Path | None:
    """Return the folder with the newest server's programs, None where none is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@dataclass(frozen=True)
class PrivateServer:
    """A server that can be stopped, as a crash would, and started again on its port."""

    url: str
    stop: Callable[[], None]
    start: Callable[[], None]


@contextmanager
def private_postgres(binaries: Path) -> Iterator[str]:
    """Start a server, yield the address of its database, stop it and remove everything."""
    with restartable_postgres(binaries) as server:
        yield server.url


@contextmanager
def restartable_postgres(binaries: Path) -> Iterator[PrivateServer]:
    """As `private_postgres`, but yield the server itself."""
    folder = Path(tempfile.mkdtemp(prefix="ktrdr-postgres-", dir="/tmp"))
    # A server refuses to run as root, and needs a folder that its user can reach.
    user = None if os.geteuid() != 0 else _ordinary_user()
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    password, port = secrets.token_hex(16), _free_port()
    (folder / "password").write_text(password)
    if user is not None:
        os.chown(folder / "password", user.pw_uid, user.pw_gid)

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [binaries / program, "-D", folder / "data", *arguments],
            check=True,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
            extra_groups=None if user is None else [],
            timeout=60,
        )

    try:
        run(
            "initdb", "-U", "ktrdr", "-A", "scram-sha-256", f"--pwfile={folder / 'password'}", "--no-sync", "-E", "UTF8"
        )
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' {_FAST}"

        def start() -> None:
            run("pg_ctl", "-w", "-s", "-l", str(folder / "log"), "-o", options, "start")

        def stop() -> None:
            run("pg_ctl", "-w", "-s", "-m", "immediate", "stop")

        start()
        try:
            yield PrivateServer(f"postgresql+psycopg://ktrdr:{password}@127.0.0.1:{port}/postgres", stop, start)
        finally:
            stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ordinary_user() -> pwd.struct_passwd:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return pwd.getpwnam("postgres" if "postgres" in names else "nobody")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
