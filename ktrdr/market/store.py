"""Series on disk: `<symbol>/<timeframe>/series.json`, immutable snapshots beside it, sealed bars below it.

A snapshot is a Parquet file named by its content's hash; it is never changed or removed. `series.json` names the
current one and is replaced in one step, last of all: a reader sees a series before an import or after it.
"""

import difflib
import fcntl
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ktrdr.artifacts.files import canonical_json, write_bytes_atomically, write_json_atomically
from ktrdr.artifacts.shelf import PlainShelf, Shelf
from ktrdr.errors import ArtifactsUnavailable, Conflict, NotFound, WorkspaceUnusable
from ktrdr.market.bars import Bars
from ktrdr.market.seal import SEALED_FOLDER, SealedManifest, has_manifest, write_sealed
from ktrdr.market.series import SHA256_PATTERN, SYMBOL_PATTERN, SeriesInfo, SeriesSidecar, symbol_key
from ktrdr.market.snapshot import decode_bars, encode_bars
from ktrdr.market.timeframe import Timeframe

SIDECAR = "series.json"
_STAGING = ".import-"


@dataclass(frozen=True, slots=True)
class DamagedSeries:
    """A series that cannot be read, and what to do about it."""

    symbol: str
    timeframe: Timeframe
    message: str


class BarStore:
    """The bars of a workspace. Reading never writes; nothing is created before the first import.

    Args:
        data_dir: The folder.
        shelf: How it is shared with other machines; not at all, or as a folder that all mount, when None. Earlier
            snapshots are brought here only when they are loaded.
    """

    def __init__(self, data_dir: Path, shelf: Shelf | None = None) -> None:
        self.data_dir = data_dir
        self._shelf = PlainShelf(data_dir) if shelf is None else shelf

    def list_series(self) -> list[SeriesInfo]:
        """Return every stored series that can be read, by symbol, then from the shortest timeframe.

        Raises:
            WorkspaceUnusable: The folder cannot be read.
        """
        return self.list_all()[0]

    def list_for_research(self) -> list[SeriesInfo]:
        """Return the stored series that research may use; raises as `list_series`."""
        return [info for info in self.list_series() if not info.is_refused_for_research]

    def list_all(self) -> tuple[list[SeriesInfo], list[DamagedSeries]]:
        """Return every stored series, and those whose sidecar is damaged; raises as `list_series`."""
        infos: list[SeriesInfo] = []
        damaged: list[DamagedSeries] = []
        with self._shelf.settled():
            for symbol, timeframe in itertools.product(self._symbols(), Timeframe):
                try:
                    sidecar = self._read_sidecar(symbol, timeframe)
                except ArtifactsUnavailable:
                    raise
                except WorkspaceUnusable as error:
                    damaged.append(DamagedSeries(symbol, timeframe, error.message))
                else:
                    infos += [] if sidecar is None else [sidecar.info()]
        return infos, damaged

    def stored_symbol(self, symbol: str) -> str:
        """Return the name under which an instrument is stored that is spelt `symbol`; `symbol` if it is not."""
        key = symbol_key(symbol)
        same = [name for name in self._symbols() if symbol_key(name) == key and (self.data_dir / name).is_dir()]
        return symbol if symbol in same or not same else same[0]

    def instrument(self, symbol: str) -> SeriesSidecar:
        """Return a sidecar of the instrument that fixes the sealed date of `symbol`, aliases followed.

        Raises:
            NotFound: No series of it is stored (`unknown_market`).
            WorkspaceUnusable: A sidecar cannot be read.
        """
        name = self.stored_symbol(symbol)
        found = self.sidecars(name)
        if not found:
            held = ", ".join(self._symbols()) or "none"
            raise NotFound(f"no instrument {symbol!r} is stored; there are {held}", reason="unknown_market")
        return found[0] if found[0].alias_of is None else self.instrument(found[0].alias_of)

    def series(self, symbol: str, timeframe: str) -> SeriesInfo:
        """Return one stored series.

        Raises:
            NotFound: There is none of that symbol and timeframe (reason `unknown_market`).
            InvalidInput: The timeframe is none.
            WorkspaceUnusable: Its sidecar cannot be read.
        """
        return self.sidecar(symbol, timeframe).info()

    def sidecar(self, symbol: str, timeframe: str) -> SeriesSidecar:
        """Return all that is recorded about one series; raises as `series`."""
        parsed = Timeframe.parse(timeframe)
        if SYMBOL_PATTERN.fullmatch(symbol) is not None:
            found = self._read_sidecar(symbol, parsed)
            if found is not None:
                return found
        raise NotFound(self._describe_absence(symbol, parsed), reason="unknown_market")

    def research_series(self, symbol: str, timeframe: str) -> SeriesInfo:
        """Return one stored series that research may use.

        Raises:
            NotFound: There is none (`unknown_market`).
            Conflict: Its quality report has serious findings that nobody accepted (`market_findings`).
            WorkspaceUnusable: Its sidecar cannot be read.
        """
        info = self.series(symbol, timeframe)
        if info.is_refused_for_research:
            raise Conflict(
                f"{symbol} {timeframe} has serious findings ({', '.join(info.finding_kinds)}): `ktrdr data check"
                f" {symbol} {timeframe}` says what to do; --accept-findings uses the bars as they are",
                reason="market_findings",
            )
        return info

    def accept_findings(self, symbol: str, timeframe: str) -> SeriesSidecar:
        """Let research use a series whatever its report found, and record it; raises as `series`."""
        with self.lock_writes():
            sidecar = self.sidecar(symbol, timeframe)
            accepted = sidecar.with_findings_accepted()
            if accepted != sidecar:
                document = canonical_json(accepted.model_dump(mode="json", by_alias=True))
                with _as_workspace_error(self.series_folder(sidecar.symbol, sidecar.timeframe), "write"):
                    self._shelf.write(_unit(sidecar.symbol, sidecar.timeframe), SIDECAR, document)
        return accepted

    def sidecars(self, symbol: str) -> list[SeriesSidecar]:
        """Return the sidecars of every timeframe of an instrument, shortest first; raises as `series`."""
        with self._shelf.settled():
            found = [self._read_sidecar(symbol, timeframe) for timeframe in Timeframe]
        return [sidecar for sidecar in found if sidecar is not None]

    def load_research(self, symbol: str, timeframe: str, *, snapshot: str | None = None) -> Bars:
        """Return the research bars of a series, never a sealed one.

        Args:
            symbol: The instrument.
            timeframe: Bar length, as `1h`.
            snapshot: An earlier version's hash; the current one when None.

        Raises:
            NotFound: No such series (`unknown_market`) or snapshot (`unknown_snapshot`).
            WorkspaceUnusable: The file is missing, damaged or not what its name says.
        """
        sidecar = self.sidecar(symbol, timeframe)
        folder = self.series_folder(symbol, sidecar.timeframe)
        name = sidecar.snapshot if snapshot is None else snapshot
        path = folder / f"{name}.parquet"
        if not path.exists():
            self._shelf.bring(_unit(symbol, sidecar.timeframe), lambda file: _is_eager(file) or file == path.name)
        if snapshot is not None and (re.match(SHA256_PATTERN, snapshot) is None or not path.exists()):
            raise NotFound(
                f"{symbol} {timeframe} has no snapshot {snapshot!r}; the current one is {sidecar.snapshot}",
                reason="unknown_snapshot",
            )
        try:
            return decode_bars(
                path.read_bytes(),
                symbol=symbol,
                timeframe=sidecar.timeframe,
                snapshot=name,
                calendar=sidecar.calendar,
            )
        except (OSError, ValueError) as error:
            raise WorkspaceUnusable(
                f"cannot use {path}: {error}. Restore it from a backup, or move {folder} away and import again."
            ) from None

    def series_folder(self, symbol: str, timeframe: Timeframe) -> Path:
        """Return where a series lives, whether or not it exists."""
        return self.data_dir / symbol / timeframe.value

    @contextmanager
    def lock_writes(self) -> Iterator[None]:
        """Hold the one right to write, against other threads, processes and machines; makes the data folder."""
        with _as_workspace_error(self.data_dir, "write"):
            self.data_dir.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.data_dir, os.O_RDONLY)  # the folder itself: a lock leaves no file behind
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            with self._shelf.exclusive():
                yield
        finally:
            os.close(handle)

    def write_series(
        self, sidecar: SeriesSidecar, *, research: Bars | None, manifest: SealedManifest, sealed: Bars
    ) -> None:
        """Store a series' next state; the caller holds `lock_writes`.

        Args:
            sidecar: What becomes current.
            research: Its research bars, None where they are stored already.
            manifest: The sealed parts that continue them.
            sealed: The bars of the newest part, possibly none.

        Raises:
            WorkspaceUnusable: The disk refuses; the series is as it was.
        """
        folder = self.series_folder(sidecar.symbol, sidecar.timeframe)
        with _as_workspace_error(folder, "write"), self._staging() as staging:
            _remove_leftovers(folder)
            if research is not None and not (folder / f"{research.snapshot}.parquet").exists():
                write_bytes_atomically(staging / f"{research.snapshot}.parquet", encode_bars(research))
            write_sealed(staging, manifest, sealed)
            files = sorted(path for path in staging.rglob("*") if path.is_file())
            files.sort(key=lambda path: path.suffix == ".json")  # the sealed parts' manifest after all bars
            write_json_atomically(staging / SIDECAR, sidecar.model_dump(mode="json", by_alias=True))
            names = [*(str(path.relative_to(staging)) for path in files), SIDECAR]
            self._shelf.publish(_unit(sidecar.symbol, sidecar.timeframe), staging, names)

    @contextmanager
    def _staging(self) -> Iterator[Path]:
        """Give a folder for what is to appear, without those that killed imports left; `lock_writes` is held."""
        self._remove_stagings()
        staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=self.data_dir))
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def sweep(self) -> int:
        """Remove the files that imports left which were killed; return how many. No series changes.

        Raises:
            WorkspaceUnusable: The folder cannot be read or written.
        """
        if not self.data_dir.is_dir():
            return 0
        with self.lock_writes(), _as_workspace_error(self.data_dir, "write"):
            folders = [self.series_folder(symbol, timeframe) for symbol in self._symbols() for timeframe in Timeframe]
            return self._remove_stagings() + sum(map(_remove_leftovers, folders))

    def _remove_stagings(self) -> int:
        abandoned = [*self.data_dir.glob(f"{_STAGING}*")]
        for folder in abandoned:
            shutil.rmtree(folder, ignore_errors=True)
        return len(abandoned)

    def _symbols(self) -> list[str]:
        self._shelf.bring_all(_is_eager)
        with _as_workspace_error(self.data_dir, "read"):
            try:
                names = os.listdir(self.data_dir)
            except FileNotFoundError:
                return []
        return sorted(name for name in names if SYMBOL_PATTERN.fullmatch(name) is not None)

    def _read_sidecar(self, symbol: str, timeframe: Timeframe) -> SeriesSidecar | None:
        path = self.series_folder(symbol, timeframe) / SIDECAR
        self._shelf.bring(_unit(symbol, timeframe), _is_eager)
        with _as_workspace_error(path, "read"):
            try:
                data = path.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None
        try:
            sidecar = SeriesSidecar.model_validate_json(data)
        except ValidationError as error:
            fault = error.errors()[0]
            raise WorkspaceUnusable(
                f"{path} is damaged: {' '.join(('.'.join(map(str, fault['loc'])), fault['msg'])).strip()}."
                f" Restore it from a backup, or move {path.parent} away and import again."
            ) from None
        if (sidecar.symbol, sidecar.timeframe) != (symbol, timeframe):
            raise WorkspaceUnusable(
                f"{path} describes {sidecar.symbol} {sidecar.timeframe}: move it back to its folder."
            )
        return sidecar

    def _describe_absence(self, symbol: str, timeframe: Timeframe) -> str:
        known = self.list_series()
        if not known:
            return (
                f"no bars of {symbol!r} {timeframe}: this workspace has no market data yet;"
                " run `ktrdr data samples` or `ktrdr data import FILE`"
            )
        names = sorted({info.symbol for info in known})
        same = [name for name in names if symbol_key(name) == symbol_key(symbol)]
        close = same or difflib.get_close_matches(symbol.upper(), names, n=1)
        hint = f"did you mean {close[0]!r}? " if close and close[0] != symbol else ""
        held = ", ".join(f"{info.symbol} {info.timeframe}" for info in known)
        return f"no bars of {symbol!r} {timeframe}: {hint}there are {held}"


def _unit(symbol: str, timeframe: Timeframe) -> str:
    return f"{symbol}/{timeframe.value}"


def _is_eager(name: str) -> bool:
    """Whether a series' file is on every machine that knows the series: all but research bars, which may be many."""
    return "/" in name or not name.endswith(".parquet")


def _remove_leftovers(folder: Path) -> int:
    """Remove what imports left that were killed: temporary files, and bars whose manifest was never put in place."""
    unfinished = [*folder.glob(".*.part"), *(folder / SEALED_FOLDER).glob(".*.part")]
    strays = [*unfinished, *(path for path in folder.glob("*.parquet") if not has_manifest(folder, path.stem))]
    for path in strays:
        path.unlink()
    return len(strays)


@contextmanager
def _as_workspace_error(path: Path, verb: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WorkspaceUnusable(
            f"cannot {verb} {error.filename or path}: {error.strerror}."
            " Check the folder's owner, its permissions and the free space, or name another workspace."
        ) from None
