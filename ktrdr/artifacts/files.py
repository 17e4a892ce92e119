"""Write a file so that a reader, or a crash, never meets half of it."""

import json
import os
import tempfile
from pathlib import Path

from pydantic import JsonValue


def canonical_json(document: JsonValue) -> bytes:
    """Return JSON bytes that are equal for equal documents: keys in their given order, newline at the end.

    Raises:
        ValueError: A number is NaN or infinite, which JSON cannot hold.
    """
    return (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_bytes_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by `data` in one step, durably: temporary file, fsync, rename, fsync of the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes 0600, which would hide the file from a shared workspace
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_json_atomically(path: Path, document: JsonValue) -> None:
    """Replace `path` by the document's canonical JSON in one step."""
    write_bytes_atomically(path, canonical_json(document))


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
