"""The one door to units: folders whose files appear and change together, on this machine or on all of them."""

from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

from pydantic import JsonValue

from ktrdr.artifacts.attempt import discard_attempt, publish_files, publish_folder
from ktrdr.artifacts.files import write_bytes_atomically

Wanted = Callable[[str], bool]


class Shelf(Protocol):
    """The units of one kind: strategies, series, checkpoints, returns of trials.

    Reading: `bring` or `bring_all`, then the files in `folder`. Writing: the methods below, and never `folder`.
    All raise ArtifactsUnavailable where the units are shared and the store does not answer.
    """

    def folder(self, unit: str) -> Path:
        """Return where a unit's files are, or would be, on this machine."""
        ...

    def bring(self, unit: str, wanted: Wanted | None = None) -> None:
        """Make this machine's files those of the unit's newest version; `wanted`: no others need be here."""
        ...

    def bring_all(self, wanted: Wanted | None = None) -> None:
        """As `bring`, for all units."""
        ...

    def settled(self) -> AbstractContextManager[None]:
        """Return a context in which this thread looks for newer versions once only, however much it reads."""
        ...

    def exclusive(self) -> AbstractContextManager[None]:
        """Return a context that no other machine is in."""
        ...

    def upload(self, unit: str, folder: Path, names: Iterable[str]) -> JsonValue:
        """Store files where nobody sees them yet. What is returned lets any machine `publish` them."""
        ...

    def publish(
        self,
        unit: str,
        folder: Path,
        names: Collection[str],
        *,
        uploaded: JsonValue = None,
        dropping: Iterable[str] = (),
    ) -> None:
        """Put files into a unit, in this order, and take out what is `dropping`. Again after a crash is fine.

        Quick where they are `uploaded`; `folder` may then be another machine's.
        """
        ...

    def publish_new(self, unit: str, folder: Path) -> None:
        """Make a folder a unit that is not there yet, whole. If it cannot, the folder is discarded.

        Raises:
            FileExistsError: There is one of this name.
        """
        ...

    def write(self, unit: str, name: str, data: bytes) -> None:
        """Replace one file of a unit."""
        ...

    def discard(self, unit: str) -> None:
        """Remove a unit, if it is there."""
        ...


class PlainShelf:
    """Units that live in a folder of this machine, or one that all machines mount.

    `is_flat`: a unit is one file, and all lie in one folder.
    """

    def __init__(self, root: Path, *, is_flat: bool = False) -> None:
        self._root = root
        self._is_flat = is_flat

    def folder(self, unit: str) -> Path:
        """Return where a unit's files are, or would be."""
        return self._root if self._is_flat else self._root / unit

    def bring(self, unit: str, wanted: Wanted | None = None) -> None:
        """Do nothing: they are here."""

    def bring_all(self, wanted: Wanted | None = None) -> None:
        """Do nothing: they are here."""

    def settled(self) -> AbstractContextManager[None]:
        """Return a context of no effect."""
        return nullcontext()

    def exclusive(self) -> AbstractContextManager[None]:
        """Return a context of no effect: locks on files do it."""
        return nullcontext()

    def upload(self, unit: str, folder: Path, names: Iterable[str]) -> JsonValue:
        """Do nothing: files are renamed into place."""
        return None

    def publish(
        self,
        unit: str,
        folder: Path,
        names: Collection[str],
        *,
        uploaded: JsonValue = None,
        dropping: Iterable[str] = (),
    ) -> None:
        """Rename files into place."""
        ordered = tuple(names)
        if (folder / ordered[-1]).exists():  # else it was done before a crash: others may have gone on from there
            for name in dropping:
                (self.folder(unit) / name).unlink(missing_ok=True)
        publish_files(folder, self.folder(unit), ordered)

    def publish_new(self, unit: str, folder: Path) -> None:
        """Rename a folder into place."""
        publish_folder(folder, self.folder(unit))

    def write(self, unit: str, name: str, data: bytes) -> None:
        """Replace one file."""
        write_bytes_atomically(self.folder(unit) / name, data)

    def discard(self, unit: str) -> None:
        """Remove a unit's folder."""
        discard_attempt(self.folder(unit))
