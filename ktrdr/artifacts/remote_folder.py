"""A folder behind an fsspec URL, reduced to what every protocol can do: list, read, write under a new name, remove."""

import logging
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit

from ktrdr.errors import ArtifactsUnavailable, InvalidInput

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

MARKER, MARKER_TEXT = "ktrdr-artifacts.json", b'{"schema": 1}\n'
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 5.0
_SLOW_S = 2.0
_LOCAL_PROTOCOLS = ("file", "local")

T = TypeVar("T")
_logger = logging.getLogger(__name__)


class RemoteFolder:
    """Thread-safe: each thread has a connection of its own. Nothing that others may change is cached.

    Args:
        url: Any that fsspec understands and can write to.
        patience_s: How long trouble is worth waiting for; errors carry it.
        waits: Whether to wait here. Who answers requests, or holds a lock, leaves the waiting to its caller.
    """

    def __init__(self, url: str, *, patience_s: float, waits: bool) -> None:
        self._url = url
        self._patience_s = patience_s
        self._waits = waits
        self._own = threading.local()
        self._made: set[str] = set()

    @property
    def shown_url(self) -> str:
        """Return the URL without its credentials."""
        return masked_url(self._url)

    def open(self) -> None:
        """Check that the folder can be read and written, and mark it as ours.

        Raises:
            InvalidInput: Its protocol is unknown, needs a package that is not installed, or another ktrdr wrote it.
            ArtifactsUnavailable: It does not answer, or refuses.
        """
        if self._marker() is None:
            self.write(MARKER, MARKER_TEXT)
        if (found := self._marker()) != MARKER_TEXT:
            raise InvalidInput(
                f"KTRDR_ARTIFACTS_URL: {self.shown_url} holds {MARKER} with {found!r}, which this version cannot "
                "use: name another folder, or use the version of ktrdr that wrote it",
                reason="artifacts_url_invalid",
            )

    def list_files(self, folder: str) -> list[str]:
        """Return the names in a folder, none where there is no such folder; raises as all do."""

        def list_names(files: "AbstractFileSystem", root: str) -> list[str]:
            files.invalidate_cache()
            return [str(path).rstrip("/").rpartition("/")[2] for path in files.ls(f"{root}/{folder}", detail=False)]

        try:
            return self._call("list", folder, list_names)
        except FileNotFoundError:
            # Some protocols say so of a folder that cannot be asked, and so does one that is not mounted.
            if self._marker() is None:
                raise self._unavailable("list", folder, f"{MARKER} is not there any more") from None
            return []

    def read(self, path: str) -> bytes:
        """Return a file's bytes.

        Raises:
            FileNotFoundError: There is none.
            ArtifactsUnavailable: The folder does not answer, or refuses.
        """
        return self._call("read", path, lambda files, root: _read(files, f"{root}/{path}"))

    def download(self, path: str, target: Path) -> None:
        """Copy a file to this machine; raises as `read`."""
        self._call("read", path, lambda files, root: files.get_file(f"{root}/{path}", str(target)))

    def write(self, path: str, data: bytes) -> None:
        """Write a file. A crash may leave a part of it: whoever reads it must be able to tell."""

        def put(files: "AbstractFileSystem", root: str) -> None:
            self._make_parent(files, root, path)
            files.pipe_file(f"{root}/{path}", data)

        self._call("write", path, put)

    def upload(self, source: Path, path: str) -> None:
        """Copy a file of this machine; as `write`."""

        def put(files: "AbstractFileSystem", root: str) -> None:
            self._make_parent(files, root, path)
            files.put_file(str(source), f"{root}/{path}")

        self._call("write", path, put)

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""
        try:
            self._call("remove", path, lambda files, root: files.rm_file(f"{root}/{path}"))
        except FileNotFoundError:
            return

    def _marker(self) -> bytes | None:
        try:
            return self.read(MARKER)
        except FileNotFoundError:
            return None

    def _call(self, verb: str, path: str, function: "Callable[[AbstractFileSystem, str], T]") -> T:
        """Do something, once more at once over a fresh connection, and for as long as there is patience.

        What failed slowly was away, not idle for too long: many protocols try again by themselves.
        """
        deadline = time.monotonic() + (self._patience_s if self._waits else 0.0)
        pause_s, is_second = 0.0, False
        while True:
            began = time.monotonic()
            try:
                files, root = self._connection()
                return function(files, root)
            except (FileNotFoundError, InvalidInput) as error:
                self._forget_connection()
                if isinstance(error, InvalidInput) or is_second:  # an idle connection that was cut may say so too
                    raise
            except Exception as error:  # every protocol has errors of its own, which share no class
                self._forget_connection()
                now = time.monotonic()
                if now >= deadline and (is_second or now - began > _SLOW_S):
                    raise self._unavailable(verb, path, f"{type(error).__name__}: {error}") from error
                _logger.info("cannot %s %s: %s", verb, path, type(error).__name__)
            time.sleep(pause_s)
            pause_s, is_second = min(max(_FIRST_PAUSE_S, 2 * pause_s), _LONGEST_PAUSE_S), True

    def _connection(self) -> "tuple[AbstractFileSystem, str]":
        if getattr(self._own, "connection", None) is None:
            self._own.connection = self._connect()
        connection: tuple[AbstractFileSystem, str] = self._own.connection
        return connection

    def _forget_connection(self) -> None:
        self._own.connection = None

    def _connect(self) -> "tuple[AbstractFileSystem, str]":
        from fsspec.core import url_to_fs

        try:
            files, root = url_to_fs(self._url, skip_instance_cache=True)
        except ImportError as error:
            package = re.search(r"[Ii]nstall ['\"`]?([\w.-]+)", str(error))
            name = package.group(1) if package else f"fsspec's package for {urlsplit(self._url).scheme}"
            raise InvalidInput(
                f"KTRDR_ARTIFACTS_URL: {self.shown_url} needs a package that is not installed: `pip install {name}` "
                f"into the environment of ktrdr ({error})",
                reason="artifacts_url_invalid",
            ) from None
        except ValueError as error:
            if "Protocol not known" not in str(error):
                raise
            raise InvalidInput(
                f"KTRDR_ARTIFACTS_URL: fsspec knows no protocol {urlsplit(self._url).scheme!r}; examples are "
                "file:///mnt/lab, s3://bucket/lab and sftp://user@host/lab",
                reason="artifacts_url_invalid",
            ) from None
        if urlsplit(self._url).scheme in ("", *_LOCAL_PROTOCOLS) and not Path(root).is_dir():
            raise NotADirectoryError(f"there is no folder {root}: make it, or mount it")
        return files, str(root).rstrip("/")

    def _make_parent(self, files: "AbstractFileSystem", root: str, path: str) -> None:
        folder = f"{root}/{path}".rpartition("/")[0]
        if folder not in self._made:
            files.invalidate_cache()
            if not files.exists(folder):
                files.makedirs(folder, exist_ok=True)
            self._made.add(folder)

    def _unavailable(self, verb: str, path: str, why: str) -> ArtifactsUnavailable:
        secret = urlsplit(self._url).password or self._url
        shown = why.replace(self._url, self.shown_url).replace(secret, "***").replace(unquote(secret), "***").strip()
        return ArtifactsUnavailable(
            f"cannot {verb} {path} in {self.shown_url}: {shown}. Check that KTRDR_ARTIFACTS_URL names it, that this "
            "machine reaches it and that its credentials may read and write there; `ktrdr doctor` tries it",
            patience_s=self._patience_s,
        )


def masked_url(url: str) -> str:
    """Return a URL without what may be a secret in it: a user's name and password, and its query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "***"
    host = parts.netloc.rpartition("@")[2]
    place = f"***@{host}" if "@" in parts.netloc else parts.netloc
    query = "?***" if parts.query else ""
    return f"{parts.scheme}://{place}{parts.path}{query}" if parts.scheme else f"{parts.path}{query}"


def _read(files: "AbstractFileSystem", path: str) -> bytes:
    data: bytes = files.cat_file(path)
    return data
