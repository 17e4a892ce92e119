"""Units that machines share through a store: this machine's folder is a cache of what the store says.

In the store a unit is a manifest per version (`manifests/<kind>/`) and files under names that are never given again
(`files/<kind>/<unit>/`). The manifest is written last and its name holds its hash, so that a reader takes a version
whole or the one before it, whatever the protocol does with half-written files.
"""

import fcntl
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from pydantic import BaseModel, JsonValue, ValidationError

from ktrdr.artifacts.attempt import discard_attempt
from ktrdr.artifacts.files import sync_folder, write_bytes_atomically
from ktrdr.artifacts.manifest import (
    EMPTY,
    Manifest,
    StoredFile,
    Version,
    hash_file,
    next_version,
    parse_manifest,
    parse_names,
)
from ktrdr.artifacts.remote_folder import RemoteFolder
from ktrdr.artifacts.shelf import Wanted
from ktrdr.errors import WorkspaceUnusable

_MOST_READS = 5
_logger = logging.getLogger(__name__)


class _Record(BaseModel):
    """Which version this machine's files are."""

    number: int
    sha256: str
    manifest: Manifest

    @property
    def version(self) -> Version:
        return Version(self.number, self.sha256)


@dataclass(slots=True)
class _Settled(threading.local):
    """What one thread knows within `settled`; `depth` is 0 outside."""

    depth: int = 0
    versions: dict[str, list[Version]] | None = None


class SharedShelf:
    """Units of one kind in a store.

    Args:
        kind: Names their part of the store.
        root: Where they are on this machine.
        remote: The store.
        cache_folder: Where it is kept which versions are here; on the same file system as `root`.
        lock: Keeps other machines out of `exclusive`.
        is_flat: A unit is one file, and all lie in `root` itself.
    """

    def __init__(
        self,
        kind: str,
        root: Path,
        remote: RemoteFolder,
        *,
        cache_folder: Path,
        lock: Callable[[], AbstractContextManager[None]],
        is_flat: bool = False,
    ) -> None:
        self._kind = kind
        self._root = root
        self._remote = remote
        self._cache = cache_folder
        self._lock = lock
        self._is_flat = is_flat
        self._settled = _Settled()

    def folder(self, unit: str) -> Path:
        """Return where a unit's files are, or would be, on this machine."""
        return self._root if self._is_flat else self._root / unit

    def exclusive(self) -> AbstractContextManager[None]:
        """Return a context that no other machine is in."""
        return self._lock()

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Look for newer versions once only, in this thread."""
        own = self._settled
        own.depth += 1
        try:
            yield
        finally:
            own.depth -= 1
            if not own.depth:
                own.versions = None

    def bring_all(self, wanted: Wanted | None = None) -> None:
        """Make this machine's files the newest, of all units."""
        with self.settled():
            for unit in self._versions():
                self.bring(unit, wanted)

    def bring(self, unit: str, wanted: Wanted | None = None) -> None:
        """Make this machine's files those of the unit's newest version; `wanted`: no others need be here."""
        for _ in range(_MOST_READS):
            versions = self._versions().get(unit)
            if not versions or self._is_here(unit, versions[0], wanted):
                return
            with self._changing(unit):
                if self._pull(unit, versions, wanted):
                    return
            self._settled.versions = None  # what the list named was replaced meanwhile
        raise self._damaged(unit)

    def upload(self, unit: str, folder: Path, names: Iterable[str]) -> JsonValue:
        """Store files where nobody sees them yet; those that the newest version has already are not sent again."""
        newest = self._newest(self._list_versions().get(unit, []), unit)[1]
        return [self._store(unit, folder, name, newest).model_dump() for name in names]

    def publish(
        self,
        unit: str,
        folder: Path,
        names: Collection[str],
        *,
        uploaded: JsonValue = None,
        dropping: Iterable[str] = (),
    ) -> None:
        """Make files part of the unit: in the store by one manifest, then on this machine."""
        sent = self.upload(unit, folder, names) if uploaded is None else uploaded
        assert isinstance(sent, list)
        files = [StoredFile.model_validate(each) for each in sent]
        self._commit(unit, files, dropping, folder)

    def publish_new(self, unit: str, folder: Path) -> None:
        """Make a folder a unit that is not there yet. If it cannot, the folder is discarded.

        Raises:
            FileExistsError: There is one of this name.
        """
        try:
            names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
            with self._lock():
                if self._newest(self._list_versions().get(unit, []), unit)[0] is not None:
                    raise FileExistsError(f"{unit} is in the store already")
                self.publish(unit, folder, names)
        finally:
            discard_attempt(folder)

    def write(self, unit: str, name: str, data: bytes) -> None:
        """Replace one file of a unit."""
        with self._incoming() as folder:
            write_bytes_atomically(folder / name, data)
            self.publish(unit, folder, (name,))

    def discard(self, unit: str) -> None:
        """Remove a unit from the store and from this machine."""
        assert not self._is_flat
        for version in self._list_versions().get(unit, []):
            self._remote.remove(self._manifest_path(unit, version))
        for name in self._remote.list_files(self._files_path(unit)):
            self._remote.remove(f"{self._files_path(unit)}/{name}")
        self._record_path(unit).unlink(missing_ok=True)
        discard_attempt(self.folder(unit))

    def adopt(self, units: Iterable[str], names: Callable[[str], list[str]]) -> list[str]:
        """Store units of this machine that the store has not, as they are; returns which."""
        absent = [unit for unit in units if unit not in self._list_versions()]
        if absent:
            with self._lock():
                known = self._list_versions()
                absent = [unit for unit in absent if unit not in known]
                for unit in absent:
                    self.publish(unit, self.folder(unit), names(unit))
        return absent

    def _versions(self) -> dict[str, list[Version]]:
        own = self._settled
        if not own.depth:
            return self._list_versions()
        if own.versions is None:
            own.versions = self._list_versions()
        return own.versions

    def _list_versions(self) -> dict[str, list[Version]]:
        return parse_names(self._remote.list_files(f"manifests/{self._kind}"))

    def _newest(self, versions: list[Version], unit: str) -> tuple[Version | None, Manifest]:
        """Return the newest version that is whole, and what it says; None and an empty one where there is none."""
        for version in versions:
            manifest = self._read_manifest(unit, version)
            if manifest is not None:
                return version, manifest
        return None, EMPTY

    def _read_manifest(self, unit: str, version: Version) -> Manifest | None:
        try:
            return parse_manifest(self._remote.read(self._manifest_path(unit, version)), version)
        except FileNotFoundError:
            return None

    def _store(self, unit: str, folder: Path, name: str, newest: Manifest) -> StoredFile:
        path = folder / name
        sha256, status = hash_file(path), path.stat()
        present = newest.find(name)
        if present is not None and present.sha256 == sha256:
            return present
        stored_as = f"{uuid4().hex[:12]}.{Path(name).name}"
        self._remote.upload(path, f"{self._files_path(unit)}/{stored_as}")
        return StoredFile(
            name=name, stored_as=stored_as, sha256=sha256, n_bytes=status.st_size, modified_ns=status.st_mtime_ns
        )

    def _commit(self, unit: str, files: list[StoredFile], dropping: Iterable[str], folder: Path) -> None:
        with self._changing(unit):
            versions = self._list_versions().get(unit, [])
            newest, before = self._newest(versions, unit)
            if newest is None or any(before.find(file.name) != file for file in files):
                manifest = before.changed(files, dropping)
                version = next_version(versions[0] if versions else None, manifest)
                self._remote.write(self._manifest_path(unit, version), manifest.to_bytes())
                self._settled.versions = None
                self._forget(unit, [each for each in versions if each != newest], (before, manifest))
            else:  # done before a crash: others may have gone on from there, so nothing is dropped
                manifest, version = before, newest
            if all((folder / file.name).is_file() for file in files):
                self._put_in_place(unit, version, manifest, folder, {file.name for file in files})

    def _forget(self, unit: str, versions: list[Version], kept: tuple[Manifest, Manifest]) -> None:
        """Remove versions and their files. The two newest stay: a reader may still follow an older list."""
        in_use = {file.stored_as for manifest in kept for file in manifest.files}
        for version in versions:
            manifest = self._read_manifest(unit, version)
            for file in () if manifest is None else manifest.files:
                if file.stored_as not in in_use:
                    self._remote.remove(f"{self._files_path(unit)}/{file.stored_as}")
            self._remote.remove(self._manifest_path(unit, version))

    def _is_here(self, unit: str, newest: Version, wanted: Wanted | None) -> bool:
        record = self._record(unit)
        if record is None or record.version != newest:
            return False
        names = [file.name for file in record.manifest.files if wanted is None or wanted(file.name)]
        return all((self.folder(unit) / name).exists() for name in names)

    def _pull(self, unit: str, versions: list[Version], wanted: Wanted | None) -> bool:
        """Bring the newest version that is whole. Returns False where its files went away meanwhile."""
        for version in versions:
            manifest = self._read_manifest(unit, version)
            if manifest is None:
                continue  # its writer died or has not ended: the one before it counts
            if self._is_here(unit, version, wanted):
                return True
            missing = self._missing(unit, manifest, wanted)
            with self._incoming() as folder:
                if not all(self._download(unit, file, folder / file.name) for file in missing):
                    return False
                self._put_in_place(unit, version, manifest, folder, {file.name for file in missing})
            return True
        return self._list_versions().get(unit) == versions  # none is whole: there is no such unit yet

    def _missing(self, unit: str, manifest: Manifest, wanted: Wanted | None) -> list[StoredFile]:
        """Return what must be downloaded; files here that no version of the store explains are set aside first."""
        folder, record = self.folder(unit), self._record(unit)
        if record is None:
            here = [file for file in manifest.files if (folder / file.name).is_file()]
            if all(hash_file(folder / file.name) == file.sha256 for file in here):
                known = {file.name: file.sha256 for file in here}
            else:
                self._set_aside(unit, here)
                known = {}
        else:
            known = {file.name: file.sha256 for file in record.manifest.files if (folder / file.name).is_file()}
        return [
            file
            for file in manifest.files
            if known.get(file.name) != file.sha256 and (wanted is None or wanted(file.name))
        ]

    def _download(self, unit: str, file: StoredFile, target: Path) -> bool:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._remote.download(f"{self._files_path(unit)}/{file.stored_as}", target)
        except FileNotFoundError:
            return False
        if hash_file(target) != file.sha256:
            return False
        os.utime(target, ns=(file.modified_ns, file.modified_ns))
        return True

    def _put_in_place(
        self, unit: str, version: Version, manifest: Manifest, source: Path, names: Collection[str]
    ) -> None:
        """Replace this machine's files by what lies in `source`, and record which version they are now."""
        folder, record = self.folder(unit), self._record(unit)
        if record is not None:
            stale = {file.name for file in record.manifest.files} - {*names}
            for name in stale:
                file, old = manifest.find(name), record.manifest.find(name)
                if file is None or old is None or file.sha256 != old.sha256:
                    (folder / name).unlink(missing_ok=True)
        if source != folder and names:
            _move(source, folder, [file.name for file in manifest.files if file.name in names])
        document = _Record(number=version.number, sha256=version.sha256, manifest=manifest)
        write_bytes_atomically(self._record_path(unit), document.model_dump_json(by_alias=True).encode())

    def _set_aside(self, unit: str, files: list[StoredFile]) -> None:
        """Move files of this machine away that are not the store's: somebody made them before the store was named."""
        target = self._cache / "aside" / f"{unit.replace('/', '@')}-{uuid4().hex[:8]}"
        for file in files:
            (target / file.name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(self.folder(unit) / file.name, target / file.name)
        _logger.warning(
            "%s %s differs from the one in the store; this machine's is kept in %s", self._kind, unit, target
        )

    @contextmanager
    def _changing(self, unit: str) -> Iterator[None]:
        """Keep other processes and threads of this machine from changing a unit's files here."""
        path = self._record_path(unit).with_suffix(".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    @contextmanager
    def _incoming(self) -> Iterator[Path]:
        """Give an empty folder on this machine's file system, and remove it afterwards."""
        parent = self._cache / "incoming"
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _record(self, unit: str) -> _Record | None:
        try:
            return _Record.model_validate_json(self._record_path(unit).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def _record_path(self, unit: str) -> Path:
        return self._cache / self._kind / f"{unit.replace('/', '@')}.json"

    def _manifest_path(self, unit: str, version: Version) -> str:
        return f"manifests/{self._kind}/{version.file_name(unit)}"

    def _files_path(self, unit: str) -> str:
        return f"files/{self._kind}/{unit}"

    def _damaged(self, unit: str) -> WorkspaceUnusable:
        return WorkspaceUnusable(
            f"files of {self._kind} {unit} are missing in {self._remote.shown_url}, or not what was stored there. If "
            "some machine has them whole, restore the store from a backup, or make them again",
            reason="artifacts_damaged",
        )


def _move(source: Path, folder: Path, names: list[str]) -> None:
    """Rename files into place in their order; all at once where the folder is not there yet."""
    if not folder.exists() and {path for path in source.rglob("*") if path.is_file()} == {
        source / name for name in names
    }:
        folder.parent.mkdir(parents=True, exist_ok=True)
        source.chmod(0o755)
        os.rename(source, folder)
        sync_folder(folder.parent)
        return
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(source / name, folder / name)
    sync_folder(folder)
