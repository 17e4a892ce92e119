"""Crypto exchanges, by ccxt."""

from typing import Any
from urllib.parse import urlsplit

from ktrdr.errors import InvalidInput, OperationFailed
from ktrdr.providers.provider import BarsWanted, Page, SymbolFacts, make_frame

PAGE_BARS = 1000


class CcxtProvider:
    """Candles of one exchange. Its library spaces the requests as the exchange asks for."""

    def __init__(self, exchange: str, base_url: str | None) -> None:
        """Open an exchange by its name in ccxt.

        Raises:
            InvalidInput: There is no such exchange, or it has no candles.
        """
        import ccxt

        if exchange not in ccxt.exchanges:
            raise InvalidInput(f"ccxt knows no exchange {exchange!r}; it is written as in ccxt:kraken")
        self._errors = ccxt
        self._exchange: Any = getattr(ccxt, exchange)({"enableRateLimit": True})
        if not self._exchange.has.get("fetchOHLCV"):
            raise InvalidInput(f"{exchange} offers no candles through ccxt; choose another exchange")
        if base_url is not None:
            self._exchange.urls["api"] = _rehost(self._exchange.urls["api"], base_url)
        self.source = f"ccxt {ccxt.__version__}, {exchange}"

    def facts(self, symbol: str) -> SymbolFacts:
        """Return that exchanges never close."""
        return SymbolFacts("24x7", None)

    def close(self) -> None:
        """Hold nothing."""

    def page(self, wanted: BarsWanted, since_ms: int) -> Page:
        """Load up to a thousand candles; an exchange that was down for so long is skipped over."""
        timeframe = str(wanted.timeframe)
        if timeframe not in self._exchange.timeframes:
            offered = ", ".join(self._exchange.timeframes)
            raise InvalidInput(f"{self._exchange.id} has no {timeframe} candles; it has {offered}")
        candles = self._ask(wanted.symbol, timeframe, since_ms)
        rows = [tuple(candle[:6]) for candle in candles if since_ms <= candle[0] < wanted.end_ms]
        length = wanted.timeframe.milliseconds
        after = max((int(row[0]) for row in rows), default=since_ms + (PAGE_BARS - 1) * length) + length
        if candles and not rows and candles[0][0] < since_ms:
            raise OperationFailed(
                f"{self._exchange.id} answers with candles from before the time that it was asked for: it keeps no"
                " history as far back; choose a later --start, or another exchange",
                reason="history_too_short",
            )
        return Page(make_frame(sorted(rows)), min(after, wanted.end_ms))

    def _ask(self, symbol: str, timeframe: str, since_ms: int) -> list[list[float]]:
        errors = self._errors
        try:
            candles: list[list[float]] = self._exchange.fetch_ohlcv(symbol, timeframe, since_ms, PAGE_BARS)
        except errors.BadSymbol:
            near = [name for name in (self._exchange.symbols or []) if name.startswith(symbol.split("/")[0])][:5]
            hint = f"; it has {', '.join(near)}" if near else "; symbols are written as in BTC/USD"
            raise InvalidInput(f"{self._exchange.id} has no symbol {symbol!r}{hint}") from None
        except (errors.RateLimitExceeded, errors.DDoSProtection) as error:
            raise OperationFailed(f"{self._exchange.id} says to slow down: {error}", reason="rate_limited") from None
        except errors.NetworkError as error:
            raise OperationFailed(f"{self._exchange.id} cannot be reached: {error}", reason="connection") from None
        except errors.BaseError as error:
            raise OperationFailed(f"{self._exchange.id}: {error}", reason="provider_error") from None
        return candles


def _rehost(urls: Any, base_url: str) -> Any:  # noqa: ANN401 - ccxt nests addresses as it likes
    if isinstance(urls, dict):
        return {key: _rehost(value, base_url) for key, value in urls.items()}
    return base_url.rstrip("/") + urlsplit(urls).path if isinstance(urls, str) else urls
