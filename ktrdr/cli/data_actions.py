"""What `ktrdr data` does."""

from collections.abc import Mapping
from pathlib import Path

from ktrdr.cli.exit_codes import ExitCode
from ktrdr.cli.output import print_document, print_lines, say, table_lines
from ktrdr.cli.session import run_action
from ktrdr.connect.connection import Connection
from ktrdr.errors import InvalidInput, NotFound
from ktrdr.schemas.markets import MarketList, SeriesDocument


def install_samples(as_json: bool) -> None:
    """Store the bundled samples and show them."""

    async def action(connection: Connection) -> int:
        _print_markets(await connection.client.install_samples(), as_json)
        return ExitCode.OK

    run_action(action)


def list_markets(as_json: bool) -> None:
    """Show all stored series."""

    async def action(connection: Connection) -> int:
        _print_markets(await connection.client.markets(), as_json)
        return ExitCode.OK

    run_action(action)


def import_bars(path: Path, fields: Mapping[str, str | None], as_json: bool) -> None:
    """Send a file of bars to the API and show what it became."""

    async def action(connection: Connection) -> int:
        try:
            outcome = await connection.client.import_market(path, fields)
        except FileNotFoundError:
            raise NotFound(f"no file {str(path)!r}", reason="file_not_found") from None
        except OSError as error:
            raise InvalidInput(f"cannot read {str(path)!r}: {error.strerror}") from None
        for notice in outcome.notices:
            say(f"note: {notice}")
        if as_json:
            print_document(outcome)
        else:
            print_lines([f"{outcome.change}:", *_table([outcome.series])])
        return ExitCode.OK

    run_action(action)


def _print_markets(found: MarketList, as_json: bool) -> None:
    if as_json:
        print_document(found)
    elif not found.markets:
        say("No bars yet: `ktrdr data samples` installs some, `ktrdr data import FILE` takes yours.")
    else:
        print_lines(_table(found.markets))


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
            series.source,
        )
        for series in markets
    ]
    header = ("symbol", "time", "bars", "first", "last", "sealed from", "calendar", "side", "source")
    return table_lines(header, rows)
