"""What stands between ib_async and a socket to the broker's gateway, and answers as that does."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import ib_async

HOUR = 3600
SPANS = {"D": 1, "W": 7, "M": 30, "Y": 365}


def price(moment_s: int) -> float:
    """A price that depends on its time alone."""
    return 1 + (moment_s // HOUR * 7919) % 97 / 5000


def is_fx_open(moment_s: int) -> bool:
    """Whether banks trade currencies: Sunday 17:00 to Friday 17:00 in New York."""
    local = datetime.fromtimestamp(moment_s, ZoneInfo("America/New_York"))
    hours = local.weekday() * 24 + local.hour
    return not 4 * 24 + 17 <= hours < 6 * 24 + 17


class FakeIbClient(ib_async.client.Client):
    """The library's own client without a socket: requests are answered at once, through its real wrapper.

    `first_s` and `now_s` bound the history of everything; the bar of `now_s` is unfinished. `asked` has the end of each
    historical request. `refusals` are (code, words) sent first, one a request; with `is_down` nobody listens.
    """

    def __init__(self, wrapper, *, first_s, now_s):
        super().__init__(wrapper)
        self.first_s, self.now_s = first_s, now_s
        self.asked: list[datetime] = []
        self.refusals: list[tuple[int, str]] = []
        self.is_down = False
        self.connections = 0

    async def connectAsync(self, host, port, clientId, timeout=2.0):
        if self.is_down:
            raise ConnectionRefusedError(111, "Connect call failed")
        self.connections += 1
        self.connState, self._apiReady, self._accounts = self.CONNECTED, True, []
        self._serverVersion, self._hasReqId, self._reqIdSeq = 176, True, 1

    def reqPositions(self):
        self.wrapper.positionEnd()

    def disconnect(self):
        self.reset()

    def reqHistoricalData(
        self, reqId, contract, endDateTime, durationStr, barSizeSetting, whatToShow, useRTH, formatDate, *rest
    ):
        end = datetime.strptime(endDateTime, "%Y%m%d %H:%M:%S UTC").replace(tzinfo=UTC)
        self.asked.append(end)
        if self.refusals:
            self.wrapper.error(reqId, *self.refusals.pop(0), "")
            return
        if contract.symbol == "NOBODY":
            self.wrapper.error(reqId, 200, "No security definition has been found for the request", "")
            return
        assert (formatDate, useRTH) == (2, whatToShow == "TRADES")
        assert whatToShow == ("MIDPOINT" if contract.secType == "CASH" else "TRADES")
        amount, unit = re.fullmatch(r"(\d+) ([DWMY])", durationStr).groups()
        start = end - timedelta(days=int(amount) * SPANS[unit])
        step = 24 * HOUR if barSizeSetting == "1 day" else HOUR
        begin = max(int(start.timestamp()), self.first_s)
        times = range(begin + -begin % step, min(int(end.timestamp()), self.now_s + 1), step)
        if contract.secType == "CASH":
            times = [at for at in times if is_fx_open(at)]
        if not times:
            self.wrapper.error(
                reqId, 162, "Historical Market Data Service error message:HMDS query returned no data", ""
            )
            return
        for at in times:
            date = f"{datetime.fromtimestamp(at, UTC):%Y%m%d}" if step > HOUR else str(at)
            volume = -1 if whatToShow == "MIDPOINT" else 100
            o = price(at)
            self.wrapper.historicalData(reqId, ib_async.BarData(date, o, o + 0.01, o - 0.01, o + 0.005, volume, -1, 1))
        self.wrapper.historicalDataEnd(reqId, "", "")
