"""Series on disk: `<symbol>/<timeframe>/series.json`, immutable snapshots beside it, sealed bars below it.

A snapshot is a Parquet file named by its content's hash; it is never changed or removed. `series.json` names the
current one and is replaced in one step, last of all: a reader sees a series before an import or after it.
"""

import difflib
import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ktrdr.artifacts.files import write_bytes_atomically, write_json_atomically
from ktrdr.errors import Conflict, NotFound, WorkspaceUnusable
from ktrdr.market.bars import Bars
from ktrdr.market.seal import SEALED_FOLDER, SealedManifest, has_manifest, write_sealed
from ktrdr.market.series import SHA256_PATTERN, SYMBOL_PATTERN, SeriesInfo, SeriesSidecar, symbol_key
from ktrdr.market.snapshot import decode_bars, encode_bars
from ktrdr.market.timeframe import Timeframe

SIDECAR = "series.json"


@dataclass(frozen=True, slots=True)
class DamagedSeries:
    """A series that cannot be read, and what to do about it."""

    symbol: str
    timeframe: Timeframe
    message: str


class BarStore:
    """The bars of a workspace. Reading never writes; nothing is created before the first import."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir

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
        for symbol in self._symbols():
            for timeframe in Timeframe:
                try:
                    sidecar = self._read_sidecar(symbol, timeframe)
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
                folder = self.series_folder(sidecar.symbol, sidecar.timeframe)
                with _as_workspace_error(folder, "write"):
                    write_json_atomically(folder / SIDECAR, accepted.model_dump(mode="json", by_alias=True))
        return accepted

    def sidecars(self, symbol: str) -> list[SeriesSidecar]:
        """Return the sidecars of every timeframe of an instrument, shortest first; raises as `series`."""
        found = (self._read_sidecar(symbol, timeframe) for timeframe in Timeframe)
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
        """Hold the one right to write, against other threads and processes; makes the data folder."""
        with _as_workspace_error(self.data_dir, "write"):
            self.data_dir.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.data_dir, os.O_RDONLY)  # the folder itself: a lock leaves no file behind
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
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
        with _as_workspace_error(folder, "write"):
            _remove_leftovers(folder)
            if research is not None:
                path = folder / f"{research.snapshot}.parquet"
                if not path.exists():
                    write_bytes_atomically(path, encode_bars(research))
            write_sealed(folder, manifest, sealed)
            write_json_atomically(folder / SIDECAR, sidecar.model_dump(mode="json", by_alias=True))

    def _symbols(self) -> list[str]:
        with _as_workspace_error(self.data_dir, "read"):
            try:
                names = os.listdir(self.data_dir)
            except FileNotFoundError:
                return []
        return sorted(name for name in names if SYMBOL_PATTERN.fullmatch(name) is not None)

    def _read_sidecar(self, symbol: str, timeframe: Timeframe) -> SeriesSidecar | None:
        path = self.series_folder(symbol, timeframe) / SIDECAR
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


def _remove_leftovers(folder: Path) -> None:
    """Remove what imports left that were killed: temporary files, and bars whose manifest was never written."""
    for path in [*folder.glob(".*.part"), *(folder / SEALED_FOLDER).glob(".*.part")]:
        path.unlink()
    for path in folder.glob("*.parquet"):
        if not has_manifest(folder, path.stem):
            path.unlink()


@contextmanager
def _as_workspace_error(path: Path, verb: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WorkspaceUnusable(
            f"cannot {verb} {error.filename or path}: {error.strerror}."
            " Check the folder's owner, its permissions and the free space, or name another workspace."
        ) from None
