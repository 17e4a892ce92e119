"""What `ktrdr strategies` does."""

import tempfile
import webbrowser
from pathlib import Path

from ktrdr.cli.cycle_report import result_lines
from ktrdr.cli.exit_codes import ExitCode
from ktrdr.cli.output import MISSING, figure, print_document, print_lines, say, shorten, table_lines
from ktrdr.cli.rules_report import rules_lines
from ktrdr.cli.session import run_action
from ktrdr.connect.connection import Connection
from ktrdr.errors import InvalidInput, NotFound
from ktrdr.schemas.strategies import StrategySummary

MAX_FILE_BYTES = 1024 * 1024
_HEADER = ("name", "market", "verdict", "sharpe", "drawdown", "trades", "accuracy", "judgement", "hypothesis")


def read_strategy_file(path: Path) -> bytes:
    """Return a strategy file's bytes.

    Raises:
        NotFound: There is no such file.
        InvalidInput: It cannot be read, or is far too large to be a strategy.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"no file {str(path)!r}", reason="file_not_found") from None
    except OSError as error:
        raise InvalidInput(f"cannot read {str(path)!r}: {error.strerror}") from None
    if len(text) > MAX_FILE_BYTES:
        raise InvalidInput(f"{str(path)!r}: a strategy file has at most {MAX_FILE_BYTES} bytes")
    return text


def list_stored(limit: int, cursor: str | None, as_json: bool) -> None:
    """Show a page of strategies."""

    async def action(connection: Connection) -> int:
        found = await connection.client.strategies(limit=limit, cursor=cursor)
        if as_json:
            print_document(found)
        elif not found.strategies:
            say("No strategies yet: `ktrdr agent trigger` designs one, `ktrdr train FILE` stores and trains yours.")
        else:
            print_lines(table_lines(_HEADER, [_row(summary) for summary in found.strategies]))
            say(
                "accuracy: validation, flattered by early stopping; sharpe: out of sample, net of costs, not corrected "
                "for the number of trials, as the verdict is"
            )
            if found.next_cursor is not None:
                say(f"There are more: --cursor {found.next_cursor}")
        return ExitCode.OK

    run_action(action)


def show_strategy(name: str, as_json: bool) -> None:
    """Show one strategy."""

    async def action(connection: Connection) -> int:
        strategy = await connection.client.strategy(name)
        if as_json:
            print_document(strategy)
        else:
            about = (strategy.text.rstrip("\n"), *rules_lines(strategy.training), *result_lines(strategy))
            print_lines([f"# {strategy.path}", *about])
        return ExitCode.OK

    run_action(action)


def open_report_page(name: str, as_json: bool) -> None:
    """Have the page about a strategy made, say where it is, and open it in a browser."""

    async def action(connection: Connection) -> int:
        page = await connection.client.strategy_report(name)
        strategy = await connection.client.strategy(name)
        if as_json:
            print_document(strategy)
            return ExitCode.OK
        path = _page_here(name, strategy.report_path, page)
        print_lines([str(path)])
        if not webbrowser.open(path.as_uri()):
            say("No browser was found: open this file in one, or set BROWSER.")
        return ExitCode.OK

    run_action(action)


def validate_file(path: Path, as_json: bool) -> None:
    """Show every fault of a file."""

    async def action(connection: Connection) -> int:
        report = await connection.client.validate_strategy(read_strategy_file(path))
        if as_json:
            print_document(report)
        elif report.valid:
            print_lines([f"{path}: valid"])
        else:
            print_lines(report.faults)
            say(f"{path}: {len(report.faults)} fault(s)")
        return ExitCode.OK if report.valid else ExitCode.USAGE

    run_action(action)


def _page_here(name: str, stored: str | None, page: bytes) -> Path:
    """Return a file on this machine that holds the page: the stored one, or a copy where that is on another machine."""
    if stored is not None and Path(stored).is_file() and Path(stored).read_bytes() == page:
        return Path(stored)
    path = Path(tempfile.mkdtemp(prefix="ktrdr-")) / f"{name}.html"
    path.write_bytes(page)
    return path


def _row(summary: StrategySummary) -> tuple[str, ...]:
    market = f"{','.join(summary.symbols)} {summary.timeframe}" if summary.timeframe else MISSING
    words = f"UNREADABLE: {summary.faults[0]}" if summary.faults else summary.hypothesis or ""
    return (
        summary.name,
        market,
        summary.verdict or MISSING,
        figure(summary.sharpe_ratio),
        figure(summary.max_drawdown, ".0%"),
        figure(summary.n_trades, "d"),
        figure(summary.accuracy, ".3f"),
        summary.judgement or MISSING,
        shorten(words, 60),
    )
