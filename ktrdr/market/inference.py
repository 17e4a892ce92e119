"""What an import may conclude when it is not told: the calendar, the asset class, the quote currency."""

import numpy as np

from ktrdr.errors import ImportRefused
from ktrdr.market.calendar import (
    FX,
    ROUND_THE_CLOCK,
    BarGrid,
    IntArray,
    clock_bars,
    expected_slots,
    find_grid,
    load_sessions,
)
from ktrdr.market.costs import AssetClass
from ktrdr.market.series import PriceSide
from ktrdr.market.timeframe import DAY_MS, Timeframe

CURRENCIES = frozenset(
    "USD EUR GBP JPY CHF AUD NZD CAD SEK NOK DKK PLN HUF CZK TRY ZAR MXN SGD HKD CNH ILS XAU XAG".split()
)
CRYPTO_QUOTES = ("USDT", "USDC", "USD", "EUR", "GBP", "JPY", "BTC", "ETH")
EXCHANGE_CURRENCIES = {
    "XNYS": "USD", "CMES": "USD", "XLON": "GBP", "XTKS": "JPY", "XHKG": "HKD", "XTSE": "CAD", "XASX": "AUD",
    "XETR": "EUR", "XFRA": "EUR", "XPAR": "EUR", "XAMS": "EUR", "XMIL": "EUR", "XMAD": "EUR", "XSWX": "CHF",
}  # fmt: skip
MOST_OUTSIDE = 0.005  # share of bars outside the sessions that an inferred calendar may leave
MOST_MISSING = 0.05
WEEKEND_SHARE = 0.2  # a market that never closes has 2/7 of its bars on Saturday and Sunday
FEWEST_BARS = 20


def infer_calendar(symbol: str, timeframe: Timeframe, label: IntArray) -> str:
    """Return the calendar that research bars show: `24x7`, `fx` (currency pairs only) or `XNYS`.

    Args:
        symbol: Says whether this is a currency pair.
        timeframe: Nominal bar length.
        label: Bar opens; research bars only, so that no sealed bar speaks.

    Raises:
        ImportRefused: None of them fits.
    """
    if len(label) >= FEWEST_BARS:
        weekday = (label // DAY_MS + 3) % 7  # 1970-01-01 was a Thursday; 5 and 6 are the weekend
        if np.mean(weekday >= 5) >= WEEKEND_SHARE:
            return ROUND_THE_CLOCK
        candidate = FX if is_currency_pair(symbol) else "XNYS"
        outside, missing = measure_fit(candidate, timeframe, label)
        if outside <= MOST_OUTSIDE and missing <= MOST_MISSING:
            return candidate
    raise ImportRefused(
        f"{symbol} {timeframe}: its bars fit neither fx, 24x7 nor XNYS; name the sessions with --calendar"
        " (an exchange code such as XLON). Nothing was imported."
    )


def measure_fit(calendar: str, timeframe: Timeframe, label: IntArray) -> tuple[float, float]:
    """Return the shares of bars outside the calendar's sessions, and of expected bars that are missing."""
    sessions = load_sessions(calendar, int(label[0]), int(label[-1]))
    grid: BarGrid | None = None if timeframe.is_daily else find_grid(label, timeframe, sessions)
    inside = clock_bars(label, timeframe, sessions, grid).inside
    end_ms = int(label[-1]) + timeframe.milliseconds
    expected = len(expected_slots(sessions, timeframe, grid, first_ms=int(label[0]), end_ms=end_ms))
    return float(np.mean(~inside)), max(0.0, 1 - float(inside.sum()) / max(expected, 1))


def is_currency_pair(symbol: str) -> bool:
    """Whether the symbol is two ISO currencies, as EURUSD, EUR.USD or XAU_USD."""
    letters = "".join(character for character in symbol if character.isalpha())
    return len(letters) == 6 and letters[:3] in CURRENCIES and letters[3:] in CURRENCIES


def infer_asset_class(calendar: str) -> AssetClass:
    """Return the asset class whose default costs apply on this calendar."""
    return {FX: AssetClass.FX, ROUND_THE_CLOCK: AssetClass.CRYPTO}.get(calendar, AssetClass.EQUITY)


def infer_quote_currency(symbol: str, calendar: str) -> str | None:
    """Return the currency that prices are in, None where neither symbol nor calendar says."""
    if calendar in (FX, ROUND_THE_CLOCK):
        quotes = sorted(CURRENCIES) if calendar == FX else CRYPTO_QUOTES
        return next((quote for quote in quotes if symbol.endswith(quote) and symbol != quote), None)
    return EXCHANGE_CURRENCIES.get(calendar)


def default_price_side(asset_class: AssetClass) -> PriceSide:
    """Return the side that prices most likely are: FX has no trades to report."""
    return "mid" if asset_class is AssetClass.FX else "trade"
