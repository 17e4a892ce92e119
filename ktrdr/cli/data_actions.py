"""What `ktrdr data` does."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ktrdr.cli.exit_codes import ExitCode
from ktrdr.cli.output import print_document, print_lines, say, table_lines
from ktrdr.cli.session import run_action
from ktrdr.connect.connection import Connection
from ktrdr.errors import InvalidInput, NotFound
from ktrdr.schemas.markets import ImportDocument, MarketList, QualityDocument, QualityList, SeriesDocument

NO_BARS = "No bars yet: `ktrdr data samples` installs some, `ktrdr data import FILE` takes yours."


def install_samples(as_json: bool) -> None:
    """Store the bundled samples and show them."""

    async def action(connection: Connection) -> int:
        _print_markets(await connection.client.install_samples(), as_json)
        return ExitCode.OK

    run_action(action)


def list_markets(limit: int, cursor: str | None, as_json: bool) -> None:
    """Show a page of stored series."""

    async def action(connection: Connection) -> int:
        _print_markets(await connection.client.markets(limit=limit, cursor=cursor), as_json)
        return ExitCode.OK

    run_action(action)


def import_bars(path: Path, fields: Mapping[str, str | None], as_json: bool) -> None:
    """Send a file of bars to the API and show what it became."""

    async def action(connection: Connection) -> int:
        with _as_user_error(path):
            outcome = await connection.client.import_market(path, fields)
        return _show_import(outcome, as_json)

    run_action(action)


def adjust_series(symbol: str, timeframe: str, actions: Path, as_json: bool) -> None:
    """Send a file of splits and dividends to the API and show what became of the series."""

    async def action(connection: Connection) -> int:
        with _as_user_error(actions):
            outcome = await connection.client.adjust_market(symbol, timeframe, actions)
        return _show_import(outcome, as_json)

    run_action(action)


def check_series(symbol: str | None, timeframe: str | None, accept: bool, as_json: bool) -> None:
    """Show quality reports; with `accept`, accept the serious findings of one series first."""

    async def action(connection: Connection) -> int:
        if accept:
            if symbol is None or timeframe is None:
                raise InvalidInput("--accept-findings needs SYMBOL and TIMEFRAME: findings are accepted one by one")
            report = await connection.client.accept_findings(symbol, timeframe)
            found = QualityList(reports=[report])
        else:
            found = await connection.client.market_quality(symbol, timeframe)
        if as_json:
            print_document(report if accept else found)
        elif not found.reports:
            say(NO_BARS)
        else:
            print_lines(line for report in found.reports for line in _quality_lines(report))
        return ExitCode.OK

    run_action(action)


def _quality_lines(report: QualityDocument) -> list[str]:
    name = f"{report.symbol} {report.timeframe}"
    if report.is_refused_for_research:
        state = (
            f"REFUSED for research; --accept-findings uses it as it is (`ktrdr data check {name} --accept-findings`)"
        )
    elif report.accepted:
        state = f"serious findings accepted: {', '.join(report.accepted)}"
    else:
        state = "ready for research"
    lines = [f"{name}: {report.bars} research bars, snapshot {report.snapshot[:12]}; {state}"]
    for finding in report.findings:
        lines += [
            f"  {finding.severity}: {finding.kind}, first {finding.first:%Y-%m-%d %H:%M}: {finding.what}",
            f"      to do: {finding.advice}",
        ]
    return lines


def _show_import(outcome: ImportDocument, as_json: bool) -> int:
    for notice in outcome.notices:
        say(f"note: {notice}")
    if as_json:
        print_document(outcome)
    else:
        print_lines([f"{outcome.change}:", *_table([outcome.series])])
    return ExitCode.OK


@contextmanager
def _as_user_error(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise NotFound(f"no file {str(path)!r}", reason="file_not_found") from None
    except OSError as error:
        raise InvalidInput(f"cannot read {str(path)!r}: {error.strerror}") from None


def _print_markets(found: MarketList, as_json: bool) -> None:
    for damaged in found.damaged:
        say(f"damaged: {damaged.symbol} {damaged.timeframe}: {damaged.message}")
    if as_json:
        print_document(found)
    elif not found.markets:
        say(NO_BARS)
    else:
        print_lines(_table(found.markets))
        if found.next_cursor is not None:
            say(f"There are more: --cursor {found.next_cursor}")


def _table(markets: list[SeriesDocument]) -> list[str]:
    rows = [
        (
            series.symbol,
            series.timeframe,
            str(series.n_bars),
            f"{series.first:%Y-%m-%d}",
            f"{series.last:%Y-%m-%d}",
            f"{series.sealed_from:%Y-%m-%d}",
            series.calendar,
            series.price_side,
            "REFUSED" if series.is_refused_for_research else ", ".join(series.finding_kinds) or "none",
            series.source,
        )
        for series in markets
    ]
    header = ("symbol", "time", "bars", "first", "last", "sealed from", "calendar", "side", "findings", "source")
    return table_lines(header, rows)
