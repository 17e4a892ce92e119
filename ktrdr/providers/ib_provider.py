"""Interactive Brokers, by ib_async, from a TWS or IB Gateway that runs and is logged in."""

import asyncio
import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

from ktrdr.config import GatewaySettings
from ktrdr.errors import InvalidInput, OperationFailed
from ktrdr.market.timeframe import DAY_MS, Timeframe
from ktrdr.providers.pacing import Pace
from ktrdr.providers.provider import BarsWanted, Page, SymbolFacts, make_frame

# What the broker allows: so many historical requests in so many seconds.
MOST_REQUESTS, WINDOW_S = 60, 600.0
ANSWER_TIMEOUT_S, CONNECT_TIMEOUT_S = 90.0, 10.0
# For each bar length the broker's name of it, the longest time that it gives at once, and days that surely lie in that.
_REQUESTS = {
    "1m": ("1 min", "1 D", 1),
    "5m": ("5 mins", "1 W", 7),
    "15m": ("15 mins", "1 W", 7),
    "30m": ("30 mins", "1 M", 28),
    "1h": ("1 hour", "1 M", 28),
    "4h": ("4 hours", "1 M", 28),
    "1d": ("1 day", "1 Y", 364),
}
_PAIR = re.compile(r"([A-Za-z]{3})[./]([A-Za-z]{3})")
_SHARE = re.compile(r"(\^?)([A-Za-z0-9. ]{1,12})(?:@([A-Za-z]{2,12}))?(?::([A-Za-z]{3}))?")
_NOT_CONNECTED, _NO_DATA = (504, 1100, 1300, 2110), "no data"


class IbProvider:
    """Currency pairs (`EUR/USD`), shares (`AAPL`, `SAP@IBIS:EUR`) and indices (`^SPX@CBOE`).

    Args:
        gateway: Where TWS or IB Gateway listens.
        pace: Keeps the broker's limit on historical requests.
        make_client: Makes what speaks to the socket, from the library's wrapper; the library's own if None.
    """

    def __init__(self, gateway: GatewaySettings, pace: Pace, make_client: Callable[[Any], Any] | None = None) -> None:
        import ib_async

        self._library = ib_async
        self._gateway = gateway
        self._pace = pace
        self._runner = asyncio.Runner()
        self._runner.get_loop()
        asyncio.set_event_loop(self._runner.get_loop())  # where the library looks for one
        self._ib: Any = ib_async.IB()
        self._ib.RaiseRequestErrors = True
        if make_client is not None:
            self._ib.client = make_client(self._ib.wrapper)
        self.source = f"Interactive Brokers, ib_async {ib_async.__version__}"

    def facts(self, symbol: str) -> SymbolFacts:
        """Return what is known of a symbol: pairs are mid prices of the FX week."""
        return SymbolFacts("fx", "mid") if _PAIR.fullmatch(symbol) else SymbolFacts(None, "trade")

    def page(self, wanted: BarsWanted, since_ms: int) -> Page:
        """Load one window of bars; a time in which the broker has none is skipped over."""
        contract = self._contract(wanted.symbol)
        size, duration, days = _request(wanted.timeframe)
        until_ms = min(since_ms + days * DAY_MS, wanted.end_ms)
        what = "MIDPOINT" if contract.secType == "CASH" else "TRADES"
        answer = self._runner.run(
            self._ask(contract, datetime.fromtimestamp(until_ms / 1000, UTC), duration, size, what)
        )
        rows = []
        for bar in answer:
            label = _label(bar.date)
            # Quotes are not traded: what the broker sends as their volume is -1.
            volume = math.nan if what == "MIDPOINT" else float(bar.volume)
            if since_ms <= label < until_ms:
                rows.append((label, *map(float, (bar.open, bar.high, bar.low, bar.close)), volume))
        return Page(make_frame(sorted(rows)), until_ms)

    def close(self) -> None:
        """Leave the gateway."""
        self._ib.disconnect()
        self._runner.close()

    def _contract(self, symbol: str) -> Any:  # noqa: ANN401 - of an optional library
        if (pair := _PAIR.fullmatch(symbol)) is not None:
            return self._library.Forex("".join(pair.groups()).upper())
        if (share := _SHARE.fullmatch(symbol)) is None:
            raise InvalidInput(
                f"need a symbol such as EUR/USD, AAPL, SAP@IBIS:EUR or ^SPX@CBOE, was {symbol!r}",
                reason="unknown_symbol",
            )
        index, name, exchange, currency = share.groups()
        if index and exchange is None:
            raise InvalidInput(f"an index needs its exchange, as in ^SPX@CBOE, was {symbol!r}", reason="unknown_symbol")
        kind = self._library.Index if index else self._library.Stock
        return kind(name.upper(), (exchange or "SMART").upper(), (currency or "USD").upper())

    async def _ask(self, contract: Any, end: datetime, duration: str, size: str, what: str) -> Any:  # noqa: ANN401
        await self._connect()
        self._pace.take_turn()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                # Its own timeout would make an answer that never comes an empty one.
                return await self._ib.reqHistoricalDataAsync(
                    contract, end, duration, size, what, useRTH=what == "TRADES", formatDate=2, timeout=0
                )
        except self._library.RequestError as error:
            return self._judge(error, contract)
        except (TimeoutError, ConnectionError, OSError) as error:
            self._ib.disconnect()
            words = str(error) or f"no answer within {ANSWER_TIMEOUT_S:g} s"
            raise OperationFailed(f"Interactive Brokers: {words}", reason="connection") from None

    def _judge(self, error: Any, contract: Any) -> list[Any]:  # noqa: ANN401
        """Return an empty answer where the broker only says that it has nothing, raise what else it says."""
        words = f"Interactive Brokers refuses ({error.code}): {error.message}"
        if error.code == 162 and _NO_DATA in error.message.lower():
            return []
        if "pacing" in error.message.lower() or error.code == 100:
            raise OperationFailed(words, reason="rate_limited") from None
        if error.code == 200:
            raise InvalidInput(f"{words}: check the symbol {contract.symbol!r}", reason="unknown_symbol") from None
        if error.code in _NOT_CONNECTED:
            raise OperationFailed(words, reason="connection") from None
        raise OperationFailed(words, reason="provider_error") from None

    async def _connect(self) -> None:
        if self._ib.isConnected():
            return
        at = self._gateway
        try:
            await self._ib.connectAsync(
                at.host,
                at.port,
                clientId=at.client_id,
                timeout=CONNECT_TIMEOUT_S,
                readonly=True,
                fetchFields=self._library.StartupFetchNONE,
            )
        except (TimeoutError, ConnectionError, OSError) as error:
            raise OperationFailed(
                f"no TWS or IB Gateway answers at {at.host}:{at.port} ({str(error) or 'no answer'}): start it, log in, "
                "allow API clients in its settings, or name another with KTRDR_IB_HOST and KTRDR_IB_PORT",
                reason="connection",
            ) from None


def _request(timeframe: Timeframe) -> tuple[str, str, int]:
    if timeframe.value not in _REQUESTS:
        raise InvalidInput(f"Interactive Brokers has no {timeframe} bars here; there are {', '.join(_REQUESTS)}")
    return _REQUESTS[timeframe.value]


def _label(moment: date | datetime) -> int:
    """Return a bar's open in epoch milliseconds; a daily one's session date at 00:00 UTC."""
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    return int(moment.timestamp() * 1000)
