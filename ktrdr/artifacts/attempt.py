"""A phase writes into a folder of its own; what it wrote appears in its place only when it is whole."""

import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from ktrdr.artifacts.files import sync_folder


def fresh_attempt(folder: Path) -> None:
    """Make an empty folder for an attempt, without whatever an earlier one left there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def discard_attempt(folder: Path) -> None:
    """Remove an attempt and its files, if there are any."""
    shutil.rmtree(folder, ignore_errors=True)


def promote_attempt(own: Path, attempt: Path) -> None:
    """Make one worker's folder the attempt that counts. Doing it again after it was done changes nothing."""
    if own.exists():
        shutil.rmtree(attempt, ignore_errors=True)
        os.rename(own, attempt)


def publish_files(attempt: Path, destination: Path, names: Iterable[str]) -> None:
    """Move files into place one by one, in order; name last the one whose presence says that all are there.

    A name may lead into a folder below. Doing it again after a crash moves what is left.

    Raises:
        FileNotFoundError: A file is neither in the attempt nor in place.
    """
    changed = [destination]
    for name in names:
        target = destination / name
        if target.parent not in changed:
            changed.append(target.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.replace(attempt / name, target)
        except FileNotFoundError:
            if not target.exists():
                raise
    for folder in changed:
        sync_folder(folder)


def publish_folder(attempt: Path, destination: Path) -> None:
    """Rename an attempt into its place, where it appears whole. If it cannot, it is discarded.

    Raises:
        FileExistsError: Others have files there already.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(attempt, destination)  # replaces an empty folder, and no other
    except OSError:
        discard_attempt(attempt)
        if destination.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(destination)) from None
        raise
    sync_folder(destination.parent)
