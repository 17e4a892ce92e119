"""Yahoo Finance, by yfinance: prices as traded, without its own adjustment of open, high and low."""

import math
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ktrdr.errors import InvalidInput, OperationFailed
from ktrdr.market.timeframe import DAY_MS, Timeframe
from ktrdr.providers.provider import BarsWanted, Page, SymbolFacts, make_frame

# How much Yahoo gives at once, in days, and how far back it keeps it.
WINDOW_DAYS = {"1m": 7, "5m": 59, "15m": 59, "30m": 59, "1h": 700, "1d": 3650}
PRICES = ("Open", "High", "Low", "Close")


class YfinanceProvider:
    """Bars of shares, indices, funds and currencies."""

    def __init__(self, base_url: str | None, cache: Path) -> None:
        """Open it; `base_url` takes the place of Yahoo's hosts, and what its library remembers goes to `cache`."""
        import yfinance

        self._library = yfinance
        yfinance.config.debug.hide_exceptions = False  # otherwise a refusal is printed, and nothing is the answer
        yfinance.set_tz_cache_location(str(cache))
        self._session = None if base_url is None else _rehosted_session(base_url)
        self.source = f"yfinance {yfinance.__version__}"

    def facts(self, symbol: str) -> SymbolFacts:
        """Return that nothing is known beforehand."""
        return SymbolFacts(None, None)

    def close(self) -> None:
        """Hold nothing."""

    def page(self, wanted: BarsWanted, since_ms: int) -> Page:
        """Load one window of bars."""
        timeframe = wanted.timeframe
        if timeframe.value not in WINDOW_DAYS:
            raise InvalidInput(f"Yahoo has no {timeframe} bars; it has {', '.join(WINDOW_DAYS)}")
        until_ms = min(since_ms + WINDOW_DAYS[timeframe.value] * DAY_MS, wanted.end_ms)
        answer = self._ask(wanted.symbol, timeframe, since_ms, until_ms)
        rows = []
        for moment, values in zip(answer.index, answer.to_dict("records"), strict=True):
            label = _label(moment.to_pydatetime(), timeframe)
            prices = [float(values[name]) for name in PRICES]
            if since_ms <= label < until_ms and not all(math.isnan(price) for price in prices):
                rows.append((label, *prices, float(values["Volume"])))
        return Page(make_frame(sorted(rows)), until_ms)

    def _ask(self, symbol: str, timeframe: Timeframe, since_ms: int, until_ms: int) -> Any:  # noqa: ANN401 - pandas
        errors = self._library.exceptions
        start, end = (datetime.fromtimestamp(each / 1000, UTC) for each in (since_ms, until_ms))
        try:
            ticker = self._library.Ticker(symbol, session=self._session)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # yfinance 1.7 under pandas 3.1: `inplace`
                return ticker.history(interval=timeframe.value, start=start, end=end, auto_adjust=False, actions=False)
        except errors.YFRateLimitError:
            raise OperationFailed("Yahoo says to slow down; wait some minutes", reason="rate_limited") from None
        except errors.YFTzMissingError:
            raise InvalidInput(f"Yahoo has no symbol {symbol!r}; look it up at finance.yahoo.com") from None
        except errors.YFPricesMissingError as error:
            if "out of" in str(error) or "within the last" in str(error):
                raise OperationFailed(f"Yahoo: {error}", reason="history_too_short") from None
            return self._library.utils.empty_df()
        except (OSError, errors.YFException) as error:
            raise OperationFailed(f"Yahoo cannot be reached: {error}", reason="connection") from None


def _label(moment: datetime, timeframe: Timeframe) -> int:
    """Return a bar's label: its open, or its session's date at 00:00 UTC; Yahoo dates days in the exchange's zone."""
    if timeframe.is_daily:
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    elif moment.tzinfo is None:
        raise OperationFailed(f"Yahoo gave the time {moment} without a zone", reason="provider_error")
    return int(moment.timestamp() * 1000)


def _rehosted_session(base_url: str) -> Any:  # noqa: ANN401 - of an optional library
    import requests

    class RehostedSession(requests.Session):
        """Sends every request to one host."""

        def request(  # type: ignore[override]  # the stub lists every option; they are passed on as they are
            self,
            method: str,
            url: str,
            *arguments: Any,  # noqa: ANN401
            **options: Any,  # noqa: ANN401
        ) -> requests.Response:
            parts = urlsplit(url)
            query = f"?{parts.query}" if parts.query else ""
            return super().request(method, base_url.rstrip("/") + parts.path + query, *arguments, **options)

    return RehostedSession()
