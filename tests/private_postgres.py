"""A PostgreSQL server of one's own: a cluster in a temporary folder, on a free port of the loopback address."""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import psycopg

HOW_TO_INSTALL = "no PostgreSQL server binaries in /usr/lib/postgresql/*/bin: apt-get install postgresql"
# Without fsync: no power cut is tried here. What is committed must survive a crash of the server, though.
_OPTIONS = "-c fsync=off -c full_page_writes=off -c max_connections=300"


def server_binaries() -> Path | None:
    """Return the folder with the newest server's programs, None where none is installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


class PrivatePostgres:
    """A running server. `crash` and `start` are for tests of what a restart does."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._folder = Path(tempfile.mkdtemp(prefix="ktrdr-postgres-", dir="/tmp"))
        # A server refuses to run as root, and needs a folder that its user can reach.
        self._user = None if os.geteuid() != 0 else _ordinary_user()
        self._password, self._port = secrets.token_hex(16), _free_port()
        self._n_databases = 0
        password_file = self._folder / "password"
        password_file.write_text(self._password)
        if self._user is not None:
            for path in (self._folder, password_file):
                os.chown(path, self._user.pw_uid, self._user.pw_gid)
        try:
            self._run(
                "initdb",
                *("-U", "ktrdr", "-A", "scram-sha-256", f"--pwfile={password_file}", "--no-sync", "-E", "UTF8"),
            )
            self.start()
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def url(self, database: str = "postgres") -> str:
        """Return the address of a database."""
        return f"postgresql+psycopg://ktrdr:{self._password}@127.0.0.1:{self._port}/{database}"

    def new_database(self, template: str = "template1") -> str:
        """Make a copy of a database and return its name."""
        self._n_databases += 1
        name = f"ktrdr_{self._n_databases}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        """Run a statement as the server's owner."""
        address = self.url().replace("+psycopg", "")
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(statement)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' {_OPTIONS}"
        self._run("pg_ctl", "-w", "-s", "-l", str(self._folder / "log"), "-o", options, "start")

    def crash(self) -> None:
        """End the server at once: every connection breaks, and what was committed is there after the next start."""
        self._run("pg_ctl", "-w", "-s", "-m", "immediate", "stop")

    def remove(self) -> None:
        """End the server and remove everything."""
        try:
            self.crash()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        user = self._user
        subprocess.run(
            [self._binaries / program, "-D", self._folder / "data", *arguments],
            check=True,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
            extra_groups=None if user is None else [],
            timeout=60,
        )


def _ordinary_user() -> pwd.struct_passwd:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return pwd.getpwnam("postgres" if "postgres" in names else "nobody")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
