"""The bundled samples: real bars that may be passed on, with their provenance in `bundled/NOTICE`."""

from pathlib import Path

from ktrdr.market.costs import AssetClass
from ktrdr.market.importer import import_bars
from ktrdr.market.request import ImportRequest
from ktrdr.market.series import SeriesInfo
from ktrdr.market.store import BarStore
from ktrdr.market.timeframe import Timeframe

BUNDLED = Path(__file__).parent / "bundled"
STOCKS_LICENCE = "public domain (Quandl WIKI), as recorded by the BSD-3-Clause package"

SAMPLES: dict[str, ImportRequest] = {
    "EURUSD_1h_2017_ask_volume.parquet": ImportRequest(
        symbol="EURUSD",
        timeframe=Timeframe.H1,
        calendar="fx",
        price_side="ask",
        asset_class=AssetClass.FX,
        source="gym-anytrading 2.0.0, FOREX_EURUSD_1H_ASK.csv (Dukascopy-style export)",
        adjustment="none",
        tick=0.00001,
        licence="MIT",
        notice="Ask side only, one year, with volume.",
    ),
    "SPX_1d.parquet": ImportRequest(
        symbol="SPX",
        timeframe=Timeframe.D1,
        calendar="XNYS",
        price_side="trade",
        asset_class=AssetClass.INDEX,
        source="arch 8.0.0, sp500.csv.gz (Yahoo ^GSPC)",
        adjustment="none: an index without dividends",
        tick=0.01,
        licence="NCSA",
        notice="An index: not tradable itself; volume is the total of its constituents.",
    ),
    "AAPL_1d_raw.parquet": ImportRequest(
        symbol="AAPL",
        timeframe=Timeframe.D1,
        calendar="XNYS",
        price_side="trade",
        adjust=True,
        asset_class=AssetClass.EQUITY,
        source="bokeh-sampledata 2026.1, stocks.csv.gz (AAPL)",
        licence=STOCKS_LICENCE,
        notice="The bundled file holds the prices as traded; they are adjusted by its adj_close when imported.",
    ),
    "MSFT_1d_adj.parquet": ImportRequest(
        symbol="MSFT",
        timeframe=Timeframe.D1,
        calendar="XNYS",
        price_side="trade",
        asset_class=AssetClass.EQUITY,
        source="bokeh-sampledata 2026.1, stocks.csv.gz (MSFT)",
        adjustment="splits and dividends, in the bundled file: prices x Adj Close / Close; volume as traded",
        licence=STOCKS_LICENCE,
        notice="Adjusted over the whole file: the price level is not the one that was traded.",
    ),
}


def install_samples(store: BarStore) -> list[SeriesInfo]:
    """Import the bundled samples that the store does not have, and return the four series.

    A series of the same symbol and timeframe is left as it is: it may hold the user's own bars.

    Raises:
        WorkspaceUnusable: The store cannot be read or written.
        ImportRefused: The instrument is stored in another timeframe whose sealed date leaves the sample no research.
    """
    for file, request in SAMPLES.items():
        stored = {sidecar.timeframe for sidecar in store.sidecars(request.symbol)}
        if request.timeframe not in stored:
            import_bars(store, BUNDLED / file, request)
    return [store.series(request.symbol, request.timeframe) for request in SAMPLES.values()]
