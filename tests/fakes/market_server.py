"""A server on loopback that answers as Bitstamp's and Yahoo's public market data do."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

HOUR, DAY = 3600, 86_400
BITSTAMP_MARKET = {
    "name": "BTC/USD",
    "market_symbol": "btcusd",
    "description": "Bitcoin / U.S. dollar",
    "base_currency": "BTC",
    "base_decimals": 8,
    "counter_currency": "USD",
    "counter_decimals": 2,
    "minimum_order_value": "10",
    "trading": "Enabled",
    "market_type": "SPOT",
}


def price(moment_s: int) -> float:
    """A price that depends on its time alone, so that any page of any run can be checked."""
    return 100 + (moment_s // HOUR * 7919) % 97 / 50


class MarketServer:
    """`now_s` is the end of its history, its last candle unfinished; `refusals` are sent first, one a request."""

    def __init__(self, *, first_s: int, now_s: int) -> None:
        self.first_s, self.now_s = first_s, now_s
        self.refusals: list[int] = []
        self.asked: list[str] = []
        self.dies_after: int | None = None
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(parts.query).items()}
                status, document = server.answer(parts.path, query)
                body = document.encode() if isinstance(document, str) else json.dumps(document).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, object]:
        if path.endswith("/markets/"):
            return 200, [BITSTAMP_MARKET]
        if "/ohlc/" not in path and "/chart/" not in path:
            return 404, {}
        self.asked.append(query.get("start") or query.get("period1") or "?")
        if self.refusals:
            return self.refusals.pop(0), "slow down"
        if self.dies_after is not None and len(self.asked) > self.dies_after:
            return 500, "broken"
        return self._candles(query) if "/ohlc/" in path else self._chart(path, query)

    def _candles(self, query: dict[str, str]) -> tuple[int, object]:
        step, start, end = int(query["step"]), int(query["start"]), int(query["end"])
        begin = max(start, self.first_s)
        opens = range(begin + -begin % step, min(end, self.now_s) + 1, step)[: int(query["limit"])]
        candles = [
            {"timestamp": str(at), "open": o, "high": o + 2, "low": o - 2, "close": o + 1, "volume": "3.5"}
            for at, o in ((at, price(at)) for at in opens)
        ]
        return 200, {"data": {"pair": "BTC/USD", "ohlc": candles}}

    def _chart(self, path: str, query: dict[str, str]) -> tuple[int, object]:
        symbol = path.rpartition("/")[2]
        if symbol == "NOBODY":
            return 404, {"chart": {"result": None, "error": {"code": "Not Found", "description": "No data found"}}}
        start, end = int(query.get("period1", self.now_s - DAY)), int(query.get("period2", self.now_s))
        begin = max(start, self.first_s)
        # Yahoo stamps a day with its open in New York, 14:30 UTC here, and leaves weekends out.
        opens = [
            at + 14 * HOUR + 1800
            for at in range(begin + -begin % DAY, min(end, self.now_s), DAY)
            if (at // DAY + 3) % 7 < 5
        ]
        quote = {
            "open": [price(at) for at in opens],
            "high": [price(at) + 2 for at in opens],
            "low": [price(at) - 2 for at in opens],
            "close": [price(at) + 1 for at in opens],
            "volume": [1000 for _ in opens],
        }
        meta = {
            "currency": "USD", "symbol": symbol, "exchangeName": "NYQ", "instrumentType": "EQUITY",
            "exchangeTimezoneName": "America/New_York", "timezone": "EST", "gmtoffset": -18_000,
            "dataGranularity": "1d",
            "range": "", "validRanges": ["1d", "max"], "regularMarketTime": self.now_s, "priceHint": 2,
            "currentTradingPeriod": {
                name: {"start": self.now_s, "end": self.now_s + 1, "timezone": "EST", "gmtoffset": -18_000}
                for name in ("pre", "regular", "post")
            },
        }  # fmt: skip
        result = {
            "meta": meta,
            "timestamp": opens,
            "indicators": {"quote": [quote], "adjclose": [{"adjclose": quote["close"]}]},
        }
        return 200, {"chart": {"result": [result], "error": None}}
