"""`ktrdr data`: bars."""

from pathlib import Path
from typing import Annotated

import typer

from ktrdr.cli.options import Json, command_group

app = command_group("Install samples, import bars, list what is stored.")


@app.command("samples")
def samples(as_json: Json = False) -> None:
    """Install the bundled samples: EURUSD 1h 2017, SPX 1d, AAPL 1d, MSFT 1d. Those already there stay as they are."""
    from ktrdr.cli.data_actions import install_samples

    install_samples(as_json)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Bars as .parquet or .csv with a header.")],
    symbol: Annotated[str, typer.Option(metavar="SYMBOL", help="What it is to be called, such as EURUSD.")],
    timeframe: Annotated[str, typer.Option(metavar="T", help="Bar length: 1m, 5m, 15m, 30m, 1h, 4h or 1d.")],
    timezone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Of times that name none, such as UTC or America/New_York.")
    ] = None,
    calendar: Annotated[
        str | None, typer.Option(metavar="C", help="Sessions: fx, 24x7, or an exchange such as XNYS.  [inferred]")
    ] = None,
    price_side: Annotated[
        str | None, typer.Option(metavar="SIDE", help="bid, ask, mid or trade.  [assumed, and said]")
    ] = None,
    adjust: Annotated[
        bool, typer.Option("--adjust", help="Adjust prices for splits and dividends by the column adj_close.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Import bars. What cannot be read with certainty is refused, and then nothing is changed.

    The later part of the first import of an instrument is sealed: research never sees it.
    """
    from ktrdr.cli.data_actions import import_bars

    fields = {
        "symbol": symbol,
        "timeframe": timeframe,
        "timezone": timezone,
        "calendar": calendar,
        "price_side": price_side,
        "adjust": "true" if adjust else None,
    }
    import_bars(file, fields, as_json)


@app.command("list")
def list_series(as_json: Json = False) -> None:
    """List stored series; counts and dates are those of the bars that research may see."""
    from ktrdr.cli.data_actions import list_markets

    list_markets(as_json)
