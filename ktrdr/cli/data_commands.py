"""`ktrdr data`: bars."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from ktrdr.cli.options import Cursor, Detach, Json, Limit, command_group

app = command_group("Install samples, import or fetch bars, check and adjust what is stored.")
TIME_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]
AcceptFindings = Annotated[
    bool, typer.Option("--accept-findings", help="Let research use the bars whatever is found; results say so.")
]
Symbol = Annotated[str, typer.Argument(metavar="SYMBOL", help="As `ktrdr data list` shows it.")]
TimeframeName = Annotated[str, typer.Argument(metavar="TIMEFRAME", help="Bar length, such as 1h.")]


@app.command("samples")
def samples(as_json: Json = False) -> None:
    """Install the bundled samples: EURUSD 1h 2017, SPX 1d, AAPL 1d, MSFT 1d. Those already there stay as they are."""
    from ktrdr.cli.data_actions import install_samples

    install_samples(as_json)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Bars: .csv, .tsv, .txt, .parquet; .gz, .zst, .zip.")],
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
    format: Annotated[
        str | None,
        typer.Option(metavar="F", help="Layout: generic, metatrader, dukascopy, yahoo or binance.  [generic]"),
    ] = None,
    adjust: Annotated[
        bool, typer.Option("--adjust", help="Adjust prices for splits and dividends by the column adj_close.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the file's bars where stored ones differ: a new snapshot.")
    ] = False,
    accept_findings: AcceptFindings = False,
    alias_of: Annotated[
        str | None,
        typer.Option(metavar="SYMBOL", help="It is another name of this stored instrument: sealed from the same date."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Import bars. What cannot be read with certainty is refused, and then nothing is changed.

    The later part of the first import of an instrument is sealed: research never sees it. Later imports add bars; one
    that contradicts stored bars is refused, unless --replace is given.
    """
    from ktrdr.cli.data_actions import import_bars

    fields = {
        "symbol": symbol,
        "timeframe": timeframe,
        "timezone": timezone,
        "calendar": calendar,
        "price_side": price_side,
        "format": format,
        "adjust": "true" if adjust else None,
        "replace": "true" if replace else None,
        "accept_findings": "true" if accept_findings else None,
        "alias_of": alias_of,
    }
    import_bars(file, fields, as_json)


@app.command("list")
def list_series(limit: Limit = 50, cursor: Cursor = None, as_json: Json = False) -> None:
    """List stored series by symbol; counts and dates are those of the bars that research may see."""
    from ktrdr.cli.data_actions import list_markets

    list_markets(limit, cursor, as_json)


@app.command("check")
def check(
    symbol: Annotated[str | None, typer.Argument(metavar="[SYMBOL", help="All of them if left out.")] = None,
    timeframe: Annotated[str | None, typer.Argument(metavar="[TIMEFRAME]]", help="All of them if left out.")] = None,
    accept_findings: AcceptFindings = False,
    as_json: Json = False,
) -> None:
    """Show what the quality reports found and what to do about it; serious findings keep research away."""
    from ktrdr.cli.data_actions import check_series

    check_series(symbol, timeframe, accept_findings, as_json)


@app.command("adjust")
def adjust_(
    symbol: Symbol,
    timeframe: TimeframeName,
    actions: Annotated[Path, typer.Option(metavar="FILE", help="Splits and dividends: columns date, split, dividend.")],
    as_json: Json = False,
) -> None:
    """Adjust prices for splits and dividends, as a new snapshot."""
    from ktrdr.cli.data_actions import adjust_series

    adjust_series(symbol, timeframe, actions, as_json)


@app.command("fetch")
def fetch(
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="yfinance, ccxt:EXCHANGE (ccxt:kraken), or ib.")],
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL", help="As the provider spells it, such as BTC/USD.")],
    timeframe: Annotated[str, typer.Option(metavar="T", help="Bar length: 1m, 5m, 15m, 30m, 1h, 4h or 1d.")],
    start: Annotated[datetime, typer.Option(metavar="DATE", formats=TIME_FORMATS, help="First bar, UTC.")],
    end: Annotated[
        datetime | None, typer.Option(metavar="DATE", formats=TIME_FORMATS, help="No bar from here on.  [now]")
    ] = None,
    store_as: Annotated[
        str | None, typer.Option("--as", metavar="SYMBOL", help="What it is to be called.  [SYMBOL, in normal form]")
    ] = None,
    calendar: Annotated[
        str | None, typer.Option(metavar="C", help="Sessions: fx, 24x7, or an exchange such as XNYS.  [inferred]")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take these bars where stored ones differ: a new snapshot.")
    ] = False,
    accept_findings: AcceptFindings = False,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Load bars from a provider and import them; run it again after a failure and it goes on where it was.

    Each provider needs its library: pip install 'ktrdr[yfinance]', 'ktrdr[ccxt]' or 'ktrdr[ib]'. ib asks a TWS or IB
    Gateway that runs and is logged in (KTRDR_IB_HOST, KTRDR_IB_PORT), for EUR/USD, AAPL, SAP@IBIS:EUR or ^SPX@CBOE.
    """
    from ktrdr.cli.fetch_actions import fetch_bars
    from ktrdr.schemas.markets import FetchRequest

    request = FetchRequest.build(
        provider=provider,
        symbol=symbol,
        timeframe=timeframe,
        start=start,
        end=end,
        store_as=store_as,
        calendar=calendar,
        replace=replace,
        accept_findings=accept_findings,
    )
    fetch_bars(request, detach, as_json)
