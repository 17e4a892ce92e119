"""Files with faults, made from one good file, each with its row of docs/data.md and the outcome promised there."""

import gzip
import io
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import zstandard

HEADER = "timestamp,open,high,low,close,volume"
START = datetime(2021, 1, 1, tzinfo=UTC)
BTC = {"symbol": "BTCUSD", "timeframe": "1h"}


def good_frame(n_bars: int = 900) -> pl.DataFrame:
    """Hours of a market that never closes, prices with two decimals and a point that matters."""
    generator = np.random.default_rng(5)
    close = np.round(1500 + np.cumsum(generator.normal(0, 3, n_bars)), 2)
    opens = np.round(np.concatenate([[1500.0], close[:-1]]) + 0.01, 2)
    high = np.round(np.maximum(opens, close) + generator.uniform(0.01, 3, n_bars), 2)
    low = np.round(np.minimum(opens, close) - generator.uniform(0.01, 3, n_bars), 2)
    times = [START + timedelta(hours=i) for i in range(n_bars)]
    volume = generator.integers(1, 100, n_bars) + 0.5
    return pl.DataFrame(
        {"timestamp": times, "open": opens, "high": high, "low": low, "close": close, "volume": volume}
    ).with_columns(pl.col("timestamp").cast(pl.Datetime("ms", "UTC")))


GOOD = good_frame()
ROWS = [
    f"{time:%Y-%m-%d %H:%M:%S}+00:00,{o:.2f},{h:.2f},{low:.2f},{c:.2f},{v:.1f}" for time, o, h, low, c, v in GOOD.rows()
]


def join(lines: list[str], end: str = "\n") -> str:
    return "\n".join(lines) + end


CSV = join([HEADER, *ROWS])


def line(number: int, text: str) -> str:
    """The good file with one physical line (2 is the first bar) replaced."""
    lines = [HEADER, *ROWS]
    lines[number - 1] = text
    return join(lines)


def cells(number: int, **changed: str) -> str:
    """The good file with cells of one line replaced."""
    values = dict(zip(HEADER.split(","), ROWS[number - 2].split(","), strict=True)) | changed
    return line(number, ",".join(values.values()))


def times(write: Callable[[datetime], str], n_rows: int = 900) -> str:
    """The good file with its times written otherwise."""
    return join(
        [
            HEADER,
            *[write(time) + row[row.index(",") :] for time, row in zip(GOOD["timestamp"], ROWS[:n_rows], strict=False)],
        ]
    )


def every(pattern: str, replacement: str) -> str:
    return join([HEADER, *[re.sub(pattern, replacement, row) for row in ROWS]])


def frame(**columns: pl.Expr) -> str:
    changed = GOOD.with_columns(**columns).with_columns(pl.col("timestamp").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    return changed.write_csv()


def scaled(rows: slice, factor: float) -> str:
    at = pl.int_range(pl.len())
    inside = (at >= rows.start) & (at < (rows.stop or 10**9))
    return frame(
        **{
            name: pl.when(inside).then(pl.col(name) * factor).otherwise(name)
            for name in ("open", "high", "low", "close")
        }
    )


def zipped(*members: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in members:
            archive.writestr(name, CSV)
    return buffer.getvalue()


def excel_day(time: datetime) -> str:
    return repr((time.replace(tzinfo=None) - datetime(1899, 12, 30)) / timedelta(days=1))


def decimal_comma() -> str:
    return join([HEADER.replace(",", ";"), *[row.replace(",", ";").replace(".", ",") for row in ROWS]])


def grouped() -> str:
    return join([HEADER, *[re.sub(r",(\d)(\d{3}\.\d\d)", r',"\1,\2"', row) for row in ROWS]])


def daily(n_days: int, write: str, first: datetime = datetime(2019, 1, 1)) -> str:
    days = [first + timedelta(days=i) for i in range(n_days)]
    return join([HEADER, *[f"{day.strftime(write)},{ROWS[i].split(',', 1)[1]}" for i, day in enumerate(days)]])


def weekly_fx(shift_from: int | None = None, flats: bool = False) -> str:
    """Half a year of FX hours; from a week on one hour late, or with flat bars at the weekend."""
    from zoneinfo import ZoneInfo

    new_york, kept = ZoneInfo("America/New_York"), []
    time = datetime(2021, 1, 3, 22, tzinfo=UTC)
    prices = good_frame(6000)
    while len(kept) < 3000:
        local = time.astimezone(new_york)
        hour = local.isoweekday() % 7 * 24 + local.hour
        is_open = 17 <= hour < 5 * 24 + 17
        week = (time - datetime(2021, 1, 3, tzinfo=UTC)).days // 7
        if is_open or flats:
            late = timedelta(hours=1 if shift_from is not None and week >= shift_from else 0)
            row = prices.row(len(kept))
            written = f"{row[4]},{row[4]},{row[4]},{row[4]},0" if not is_open else ",".join(map(str, row[1:]))
            kept.append(f"{(time + late).strftime('%Y-%m-%dT%H:%M:%SZ')},{written}")
        time += timedelta(hours=1)
    return join([HEADER, *kept])


@dataclass(frozen=True)
class Faulty:
    """A file, its row in docs/data.md, and what the import must say."""

    row: str
    outcome: str
    content: str | bytes | pl.DataFrame
    says: str
    name: str = "bad.csv"
    options: dict[str, object] = field(default_factory=dict)
    same_bars: bool = True  # a repaired file holds exactly the good bars
    now: datetime | None = None


REFUSED = [
    Faulty("empty file", "refused", "", "the file is empty"),
    Faulty("empty file", "refused", "\n \n", "the file is empty"),
    Faulty("header only", "refused", HEADER + "\n", "a header and no bars"),
    Faulty("no header", "refused", join(ROWS), "line 1: has no header"),
    Faulty("missing column", "refused", CSV.replace("timestamp", "when", 1), "no timestamp column"),
    Faulty("missing column", "refused", CSV.replace("close", "last", 1), "no column close"),
    Faulty("duplicate column", "refused", CSV.replace("volume", "Close", 1), "'close' occurs more than once"),
    Faulty("ragged line", "refused", line(5, ROWS[3].rpartition(",")[0]), r"line 5: need 6 cells .* were 5"),
    Faulty("ragged line", "refused", line(5, ROWS[3] + ",1"), r"line 5: need 6 cells .* were 7"),
    Faulty("ragged line", "refused", join([HEADER, ROWS[0].rpartition(",")[0], ROWS[1] + ",1", *ROWS[2:]]), "line 2: need 6"),
    Faulty("truncated last line", "refused", CSV[:-30], r"line 901: need 6 cells"),
    Faulty("unmatched quote", "refused", cells(5, volume='"5'), r"line \d+: unexpected end"),
    Faulty("HTML instead of CSV", "refused", "<!DOCTYPE html>\n<body>404</body>\n", "line 1: is a web page"),
    Faulty("JSON instead of CSV", "refused", '{"error": "rate limit"}', "line 1: is JSON"),
    Faulty("binary", "refused", bytes(range(256)) * 9, "binary"),
    Faulty("Excel workbook", "refused", zipped("xl/workbook.xml", "xl/styles.xml"), "Excel workbook"),
    Faulty("Excel workbook", "refused", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" * 9, "Excel workbook"),
    Faulty("damaged or cut archive", "refused", gzip.compress(CSV.encode())[:-20], "damaged or cut", "bad.csv.gz"),
    Faulty("damaged or cut archive", "refused", zipped("a.csv")[:-40], "damaged or cut", "bad.zip"),
    Faulty("damaged or cut archive", "refused", zstandard.compress(CSV.encode())[:-9], "damaged or cut", "bad.csv.zst"),
    Faulty("archive of several files", "refused", zipped("a.csv", "b.csv"), "an archive of one file, were 2", "bad.zip"),
    Faulty("damaged Parquet", "refused", b"no parquet at all", "is not a Parquet file", "bad.parquet"),
    Faulty("damaged Parquet", "refused", b"PAR1 and nothing else", "damaged or unsupported", "bad.parquet"),
    Faulty("two symbols in one file", "refused",
           join([HEADER + ",symbol", *[row + (",B" if i > 500 else ",A") for i, row in enumerate(ROWS)]]), "several instruments"),
    Faulty("other encoding", "refused", line(4, "Änderung").encode("latin-1"), r"line 4: need UTF-8"),
    Faulty("two kinds of epoch in one file", "refused",
           times(lambda time: str(int(time.timestamp() * (1000 if time > START + timedelta(hours=400) else 1)))), "line 403"),
    Faulty("seconds turned to milliseconds", "refused",
           times(lambda time: datetime.fromtimestamp(time.timestamp() / 1000, UTC).isoformat(timespec="milliseconds")),
           "seconds were taken for milliseconds"),
    Faulty("offset missing in some times", "refused", line(5, ROWS[3].replace("+00:00", "")), r"line 5 .*this one has none"),
    Faulty("naive local time without a zone", "refused", every(r"\+00:00", ""), r"line 2 .*--timezone UTC"),
    Faulty("repeated DST hour", "refused", times(lambda time: f"{time + timedelta(days=290):%Y-%m-%d %H:%M}"), "twice or never",
           options={"timezone": "America/New_York"}),
    Faulty("missing DST hour", "refused", times(lambda time: f"{time + timedelta(days=60):%Y-%m-%d %H:%M}"), "twice or never",
           options={"timezone": "America/New_York"}),
    Faulty("day and month, none above 12", "refused", daily(6, "%d/%m/%Y"), "cannot be told apart", options={"timeframe": "1d"}),
    Faulty("day and month that change places", "refused",
           daily(400, "%d/%m/%Y").replace("25/01/2019", "01/25/2019"), "line 26 .*change places", options={"timeframe": "1d"}),
    Faulty("no such date", "refused", line(5, "2021-02-30 00:00:00+00:00" + ROWS[3][25:]), r"line 5 .*no such date"),
    Faulty("two forms of date", "refused", line(5, "01/02/2021 00:00+00:00" + ROWS[3][25:]), r"line 5 .*every timestamp written as"),
    Faulty("empty time", "refused", line(5, ROWS[3][25:]), r"line 5 .*need a timestamp"),
    Faulty("time in the future", "refused", CSV, r"line 503 .*begins in the future", now=START + timedelta(hours=500)),
    Faulty("conflicting duplicates", "refused", line(5, ROWS[2].rpartition(",")[0] + ",7"), r"line 5 .*another bar.* at line 4"),
    Faulty("high below low", "refused", cells(5, high="1.00", open="1.00", close="1.00"), r"line 5 .*high is below the low"),
    Faulty("open or close outside high and low", "refused", cells(5, close="1999.00"), r"line 5 .*close is above the high"),
    Faulty("open or close outside high and low", "refused", cells(5, open="1000.00"), r"line 5 .*open is below the low"),
    Faulty("zero price", "refused", cells(5, low="0"), r"line 5 .*above zero in low, was 0\.0"),
    Faulty("negative price", "refused", cells(5, low="-9"), r"line 5 .*above zero in low"),
    Faulty("NaN price", "refused", cells(5, high="nan"), r"line 5 .*need a finite number in high"),
    Faulty("infinite price", "refused", cells(5, high="inf"), r"line 5 .*need a finite number in high"),
    Faulty("text price", "refused", cells(5, close="n/a"), r"line 5 .*need a number .* in close, was 'n/a'"),
    Faulty("empty price", "refused", cells(5, low=""), r"line 5 .*need a number in low, was empty"),
    Faulty("decimal comma once", "refused", cells(5, close='"1500,5"'), r"line 5 .*was '1500,5'"),
    Faulty("commas that may be either", "refused", every(r",\d+\.\d\d,", ',"1,500",'), "need a number with a decimal point"),
    Faulty("wrong timeframe", "refused", join([HEADER, *ROWS[::4]]), r"line 2 .*4 hours apart, which is not 1h"),
    Faulty("two timeframes in one file", "refused", join([HEADER, *ROWS[:700], *ROWS[700::4]]), r"line 702 .*4 hours apart"),
    Faulty("bar off the grid", "refused", line(5, ROWS[3].replace(":00:00+", ":20:00+")), r"line 5 .*clock marks"),
    Faulty("wrong calendar", "refused", CSV, "outside the sessions of XNYS", options={"calendar": "XNYS"}),
    Faulty("too few rows", "refused", join([HEADER, *ROWS[:299]]), "at least 300 bars for a first import"),
    Faulty("fat finger of three times", "refused", scaled(slice(300, 301), 10), r"line 302 .*between bars at"),
    Faulty("fat finger of three times", "refused", scaled(slice(880, 881), 0.1), r"line 882 .*between bars at"),
    Faulty("negative volume", "refused", cells(5, volume="-5"), r"line 5 .*volume of at least zero"),
    Faulty("volume missing in some rows", "refused", cells(5, volume=""), r"line 5 .*volume in every row or in none"),
]  # fmt: skip

REPAIRED = [
    Faulty("byte order mark", "repaired", "\ufeff" + CSV, ""),
    Faulty("UTF-16", "repaired", CSV.encode("utf-16"), "text is UTF-16"),
    Faulty("semicolons or tabs", "repaired", CSV.replace(",", ";"), "separated by semicolons"),
    Faulty("semicolons or tabs", "repaired", CSV.replace(",", "\t"), "separated by tabs"),
    Faulty("blank lines", "repaired", CSV.replace("\n", "\n\n", 7) + "\n\n", ""),
    Faulty("epoch seconds, milliseconds, microseconds", "repaired", times(lambda t: str(int(t.timestamp()))), "are seconds since 1970"),
    Faulty("epoch seconds, milliseconds, microseconds", "repaired", times(lambda t: str(int(t.timestamp() * 1e3))), "are milliseconds since"),
    Faulty("epoch seconds, milliseconds, microseconds", "repaired", times(lambda t: str(int(t.timestamp()) * 10**6)), "are microseconds since"),
    Faulty("epoch seconds, milliseconds, microseconds", "repaired",
           GOOD.with_columns(pl.col("timestamp").dt.epoch("ms")), "are milliseconds since", "bad.parquet"),
    Faulty("Excel serial days", "repaired", times(excel_day), "Excel's serial days", options={"timezone": "UTC"}),
    Faulty("date and time in two columns", "repaired",
           times(lambda t: f"{t:%Y.%m.%d,%H:%M}").replace("timestamp", "date,time", 1), "read together", options={"timezone": "UTC"}),
    Faulty("several offsets, one in every time", "repaired",
           times(lambda t: (t + timedelta(hours=t.hour % 3)).strftime("%Y-%m-%d %H:%M:%S") + f"+0{t.hour % 3}:00"), ""),
    Faulty("day and month, one above 12", "repaired", times(lambda t: f"{t:%d.%m.%Y %H:%M:%S} GMT+0000"), "dates are day first"),
    Faulty("day and month, one above 12", "repaired", times(lambda t: f"{t:%m/%d/%Y %H:%M}"), "dates are month first",
           options={"timezone": "UTC"}),
    Faulty("unfinished last bar", "repaired", CSV, "not complete yet: left out", same_bars=False,
           now=START + timedelta(hours=899, minutes=5)),
    Faulty("equal duplicates", "repaired", join([HEADER, *ROWS[:500], *ROWS[490:]]), "occur twice .*: 10, line 502"),
    Faulty("newest first", "repaired", join([HEADER, *ROWS[::-1]]), "newest first: turned round"),
    Faulty("shuffled", "repaired", join([HEADER, *ROWS[450:], *ROWS[:450]]), "not in the order of time: sorted; line 452"),
    Faulty("decimal comma everywhere", "repaired", decimal_comma(), "decimal comma"),
    Faulty("commas between thousands", "repaired", grouped(), "commas between thousands"),
    Faulty("words for empty days", "repaired",
           daily(500, "%Y-%m-%d").replace("volume", "volume,Adj Close", 1).replace("timestamp", "Date", 1)
           .replace("\n20", ",1500\n20").replace("Adj Close,1500", "Adj Close")[:-1] + ",1500\n"
           + "2020-05-20,null,null,null,null,null,null\n", "without any price, left out: 1",
           options={"timeframe": "1d", "format": "yahoo"}, same_bars=False),
    Faulty("weekend flats", "repaired", weekly_fx(flats=True), "flat bars without volume .* left out",
           options={"symbol": "EURUSD", "calendar": "fx"}, same_bars=False),
    Faulty("the same bars again", "repaired", CSV, ""),
]  # fmt: skip

WARNED = [
    Faulty("no line end at the end", "warned", CSV[:-1], "last line has no line end"),
    Faulty("columns that are not known", "warned", join([HEADER + ",note", *[row + ",x" for row in ROWS]]), "columns not used: note"),
    Faulty("clock shift", "warned", weekly_fx(shift_from=8), "serious: .* weeks begin and end 1 hours late",
           options={"symbol": "EURUSD", "calendar": "fx"}),
    Faulty("holes", "warned", join([HEADER, *ROWS[:200], *ROWS[230:]]), "warning: 30 of .* expected bars are missing"),
    Faulty("holes", "warned", join([HEADER, *ROWS[:200], *ROWS[290:]]), "serious: 90 of .* expected bars are missing"),
    Faulty("stale runs", "warned",
           frame(**{name: pl.when(pl.int_range(pl.len()).is_between(100, 130)).then(1500.0).otherwise(name)
                    for name in ("open", "high", "low", "close")}), "runs of at least 10 bars without any change"),
    Faulty("smaller fat finger", "warned", scaled(slice(300, 301), 1.5), "serious: a close far from both its neighbours"),
    Faulty("scale change", "warned", scaled(slice(300, None), 100), "serious: the price jumps further"),
    Faulty("all-zero volume", "warned", frame(volume=pl.lit(0.0)), "volume is zero in every research bar"),
    Faulty("bars that moved without volume", "warned",
           frame(volume=pl.when(pl.int_range(pl.len()) % 3 == 0).then(0.0).otherwise("volume")), "moved without volume"),
    Faulty("close-only bars", "warned", frame(open=pl.col("close"), high=pl.col("close"), low=pl.col("close")), "serious: .* one price"),
]  # fmt: skip
# These need more than one file, or an exchange's calendar: they have tests of their own.
ELSEWHERE = {
    "unadjusted split": "warned",
    "bars that differ from stored ones": "refused",
    "stored bars that the file has not": "refused",
    "one name for two companies": "warned",
}
