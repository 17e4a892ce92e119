"""What `ktrdr doctor` can tell of this machine without asking anybody."""

import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from uuid import uuid4

from ktrdr import __version__
from ktrdr.artifacts.remote_folder import RemoteFolder
from ktrdr.config import ArtifactsSettings, Settings, known_settings
from ktrdr.errors import InvalidInput, OperationFailed, WorkspaceUnusable
from ktrdr.market.store import BarStore
from ktrdr.schemas.doctor import Finding

MIN_FREE_BYTES = 100 * 1024**2
GOOD_FREE_BYTES = 1024**3
_PACKAGES = ("dbos", "torch", "sqlalchemy", "psycopg", "polars", "numba", "ta-lib")


def local_findings(settings: Settings) -> Iterator[Finding]:
    """Yield what is to be said of environment, installation, workspace and disk."""
    yield from _environment_findings()
    yield _installation()
    yield _device(settings.device)
    yield _workspace(settings.workspace)
    yield _disk(settings.workspace)
    yield from _leftovers(settings)
    if settings.artifacts is not None:
        yield _shared_store(settings.artifacts)


def _environment_findings() -> Iterator[Finding]:
    known = known_settings()
    given = sorted(name for name in os.environ if name.startswith("KTRDR_"))
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            fix = f"did you mean {near[0]}?" if near else "unset it; the README lists the settings"
            yield Finding(check="environment", status="warning", message=f"{name} is no setting of ktrdr", fix=fix)
    words = ", ".join(name for name in given if name in known) or "nothing"
    yield Finding(check="environment", status="ok", message=f"set: {words}")


def _installation() -> Finding:
    found, missing = [f"python {platform.python_version()}", f"ktrdr {__version__}"], []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        words = f"not installed: {', '.join(missing)}"
        return Finding(
            check="installation", status="broken", message=words, fix="install ktrdr again, into a fresh venv"
        )
    return Finding(check="installation", status="ok", message=", ".join(found))


def _device(asked: str) -> Finding:
    try:
        # A build without CUDA needs no loading to be known: seconds, for a command that takes one.
        is_cpu_build = asked != "cuda" and version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return Finding(check="device", status="broken", message="unknown without torch", fix="install ktrdr again")
    if asked == "cpu" or is_cpu_build:
        return Finding(check="device", status="ok", message=f"trainings use the cpu (KTRDR_DEVICE={asked})")
    from ktrdr.networks.runtime import choose_device

    try:
        device = choose_device(asked)
    except OperationFailed as error:
        return Finding(check="device", status="broken", message=error.message, fix="trainings fail here until then")
    return Finding(check="device", status="ok", message=f"trainings use the {device} (KTRDR_DEVICE={asked})")


def _workspace(folder: Path) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=_present(folder)):
            pass
    except OSError as error:
        return Finding(
            check="workspace",
            status="broken",
            message=f"{folder} cannot be written: {error.strerror}",
            fix="check who owns it, or name another folder with --workspace or KTRDR_WORKSPACE",
        )
    return Finding(check="workspace", status="ok", message=f"{folder} can be written")


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(_present(folder)).free
    message = f"{free / 1024**3:.1f} GiB free"
    if free >= GOOD_FREE_BYTES:
        return Finding(check="disk", status="ok", message=message)
    return Finding(
        check="disk",
        status="broken" if free < MIN_FREE_BYTES else "warning",
        message=message,
        fix="make room: trainings and the database need it",
    )


def _leftovers(settings: Settings) -> Iterator[Finding]:
    """Remove what killed imports left, and say so."""
    try:
        n_files = BarStore(settings.data_folder).sweep()
    except WorkspaceUnusable as error:
        fix = "check who owns the folder `data`, or name another workspace"
        yield Finding(check="workspace", status="broken", message=error.message, fix=fix)
        return
    if n_files:
        words = f"removed {n_files} file(s) that killed imports left; no series has changed"
        yield Finding(check="workspace", status="ok", message=words)


def _shared_store(settings: ArtifactsSettings) -> Finding:
    remote = RemoteFolder(settings.url, patience_s=settings.patience_s, waits=False)
    try:
        remote.open()
        probe = f"probes/{uuid4().hex}"
        remote.write(probe, b"ktrdr doctor\n")
        remote.read(probe)
        remote.remove(probe)
    except (InvalidInput, WorkspaceUnusable) as error:
        fix = "see the message: without the store nothing that needs strategies or bars can begin"
        return Finding(check="artifacts", status="broken", message=error.message, fix=fix)
    except FileNotFoundError as error:
        fix = "KTRDR_ARTIFACTS_URL must name a store that shows at once what was written"
        return Finding(check="artifacts", status="broken", message=f"written, and then not there: {error}", fix=fix)
    return Finding(check="artifacts", status="ok", message=f"{remote.shown_url} can be read and written")


def _present(folder: Path) -> Path:
    """Return a folder, or the nearest above it that is there: a workspace is made when it is first used."""
    return next(each for each in (folder, *folder.parents) if each.exists())
