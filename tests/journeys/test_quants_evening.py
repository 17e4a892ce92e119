"""A quant's evening: five files with five clocks, a strategy by hand, offline cycles, and why some were refused."""

import gzip
from pathlib import Path

import polars as pl
import pytest

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the test data folder {SHARED} is absent")
STRATEGY = """
schema: 1
name: dips_of_the_index
hypothesis: After some days of falling prices those who had to sell are done, and the index recovers within a week.
market: {symbols: [SPX], timeframe: 1d}
indicators: {rsi: {type: RSI, timeperiod: 7}, day: {type: WEEKDAY}}
fuzzy_sets:
  rsi: {input: rsi, partition: [low, middle, high]}
  week: {input: day, sets: {early: {shape: trapezoid, points: [0, 0, 1, 3]},
                            late: {shape: trapezoid, points: [1, 3, 6, 6]}}}
labels: {type: forward_return, horizon: 5}
training: {epochs: 20, seeds: 2}
"""


@pytest.fixture
def files(tmp_path_factory):
    """The five files as their vendors would send them, and what must be said of each."""
    folder = tmp_path_factory.mktemp("downloads")

    def broker_time(zone):
        frame = pl.read_parquet(SHARED / "GBPUSD_1h.parquet").tail(12_000)
        return frame.with_columns(
            timestamp=pl.col("timestamp").dt.convert_time_zone(zone).dt.strftime("%Y.%m.%d %H:%M")
        ).write_csv()

    bitcoin = pl.read_parquet(SHARED / "BTCUSD_1d.parquet").reverse()
    (folder / "gbp.csv.gz").write_bytes(gzip.compress(broker_time("Europe/Athens").encode()))
    bitcoin.with_columns(timestamp=pl.col("timestamp").dt.epoch("ms")).write_csv(folder / "btc.csv")
    pl.read_parquet(SHARED / "SPX_1d.parquet").with_columns(
        timestamp=pl.col("timestamp").dt.strftime("%d/%m/%Y")
    ).write_csv(folder / "spx.csv", separator=";")
    return {
        "EURUSD": (SHARED / "EURUSD_1h_2017_ask_volume.parquet", "1h", ("--price-side", "ask")),
        "GBPUSD": (folder / "gbp.csv.gz", "1h", ("--timezone", "Europe/Athens", "--price-side", "bid")),
        "BTCUSD": (folder / "btc.csv", "1d", ()),
        "SPX": (folder / "spx.csv", "1d", ("--timezone", "America/New_York")),
        "AAPL": (SHARED / "AAPL_1d_raw.parquet", "1d", ()),
    }


@pytest.mark.parametrize("n_cycles", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_an_evening_from_files_to_reasons(empty_workspace, files, free_port, n_cycles):
    lab = empty_workspace
    lab.environment["KTRDR_GATE_PROFILE"] = "strict"
    lab.serve(free_port)

    # Import, and read what is said: a clock that nobody named, splits that nobody adjusted.
    gbp, _, _ = files["GBPUSD"]
    nameless = lab.run("data", "import", str(gbp), "--symbol", "GBP/USD", "--timeframe", "1h", expect=2)
    assert "--timezone" in nameless.stderr
    for symbol, (file, timeframe, options) in files.items():
        lab.run("data", "import", str(file), "--symbol", symbol, "--timeframe", timeframe, *options)
    calendars = {each["symbol"]: each["calendar"] for each in lab.json("data", "list")["markets"]}
    assert calendars == {"AAPL": "XNYS", "BTCUSD": "24x7", "EURUSD": "fx", "GBPUSD": "fx", "SPX": "XNYS"}
    checked = lab.run("data", "check", "AAPL", "1d").stdout
    assert "REFUSED for research" in checked
    assert "split" in checked
    apple, _, _ = files["AAPL"]
    lab.run("data", "import", str(apple), "--symbol", "AAPL", "--timeframe", "1d", "--adjust", "--replace")
    assert {each["is_refused_for_research"] for each in lab.json("data", "check")["reports"]} == {False}

    # A strategy by hand.
    mine = lab.folder / "mine.yaml"
    mine.write_text(STRATEGY)
    assert lab.json("train", str(mine))["status"] == "completed"
    assert lab.json("backtest", "dips_of_the_index")["status"] == "completed"

    # Cycles, on what has few bars, so that the evening is short.
    history = lab.json("agent", "history")
    while (left := n_cycles - len(history["cycles"])) > 0:
        trigger = ("agent", "trigger", "--designer", "offline", "--brief", "daily")
        lab.attempt(*trigger, "--until-completed", str(left), timeout_s=60 * left)
        history = lab.json("agent", "history", "--limit", "200")
    stored = lab.json("strategies", "list", "--limit", "200")["strategies"]
    assert [each["name"] for each in stored] == [each["strategy_name"] for each in history["cycles"]] + [
        "dips_of_the_index"
    ]
    by_name = {each["name"]: each for each in stored}
    assert by_name["dips_of_the_index"]["verdict"] in ("candidate", "inconclusive", "disproven")
    assert len({each["hypothesis"] for each in stored}) == n_cycles + 1
    table = lab.run("strategies", "list").stdout
    assert all(name in table for name in by_name)

    # Why were they refused? The history has the reason, the operation the figure and the limit.
    refused = [each for each in history["cycles"] if (each["reason"] or "").startswith("gate_failed")]
    assert len(refused) >= (3 if n_cycles == 10 else 1)
    for cycle in refused[:3]:
        shown = lab.run("operations", "show", cycle["operation_id"][-6:]).stdout
        assert cycle["reason"] in shown
        gate = lab.json("operations", "show", cycle["operation_id"])["metadata"]["gates"][-1]
        assert not gate["passed"]
        assert f"observed {gate['observed']:.4g}, limit {gate['threshold']:.4g}" in shown
        figures = by_name[cycle["strategy_name"]]
        assert (figures["accuracy"], figures["sharpe_ratio"]) == (cycle["accuracy"], cycle["sharpe_ratio"])
