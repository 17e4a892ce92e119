"""Adjustment by a file of splits and dividends, against a publisher's own adjusted closes."""

from datetime import date

import numpy as np
import polars as pl
import pytest
from importing import import_file
from sealed_reading import read_sealed

from ktrdr.errors import Conflict, ImportRefused, InvalidInput, NotFound
from ktrdr.market.actions import CorporateAction, find_adjustment, read_actions
from ktrdr.market.adjust import adjust_series
from ktrdr.market.samples import BUNDLED
from ktrdr.market.seal import read_manifest

APPLE = BUNDLED / "AAPL_1d_raw.parquet"
ACTIONS = "date,split,dividend\n2005-02-28,2,\n2000-06-21,2,\n2012-08-09,,2.65\n"
PUBLISHED_TO = 0.005  # adj_close has two decimals


@pytest.fixture
def apple(store):
    import_file(store, APPLE, symbol="AAPL", timeframe="1d", calendar="XNYS", price_side="trade")
    return store


def test_apple_is_refused_for_research_until_its_splits_are_adjusted_or_accepted(apple, write, tree):
    with pytest.raises(Conflict, match="suspected_split") as refusal:
        apple.research_series("AAPL", "1d")
    assert refusal.value.reason == "market_findings"
    raw = apple.load_research("AAPL", "1d")
    sealed = read_sealed(apple, "AAPL", "1d")
    outcome = adjust_series(apple, "aapl", "1d", write("actions.csv", ACTIONS))
    assert apple.research_series("AAPL", "1d") == outcome.series
    assert "2 splits and 0 dividends adjusted; 1 later ones kept" in outcome.notices[0]
    bars = apple.load_research("AAPL", "1d")
    published = pl.read_parquet(APPLE).head(len(bars))["adj_close"].to_numpy()
    rebased = published * bars.close[-1] / published[-1]
    np.testing.assert_allclose(bars.close, rebased, rtol=2 * PUBLISHED_TO / published.min())
    assert bars.close[-1] == raw.close[-1]
    np.testing.assert_allclose(bars.close * bars.volume, raw.close * raw.volume)
    np.testing.assert_array_equal(apple.load_research("AAPL", "1d", snapshot=raw.snapshot).close, raw.close)
    assert read_sealed(apple, "AAPL", "1d").equals(sealed)
    manifest = read_manifest(apple.data_dir / "AAPL" / "1d", bars.snapshot)
    assert [(action.day, action.dividend) for action in manifest.actions] == [(date(2012, 8, 9), 2.65)]
    before = tree()
    with pytest.raises(InvalidInput, match="adjusted already"):
        adjust_series(apple, "AAPL", "1d", write("actions.csv", ACTIONS))
    with pytest.raises(ImportRefused, match="differs in its adjustment"):
        import_file(apple, write("more.parquet", pl.read_parquet(APPLE).slice(3000)), symbol="AAPL", timeframe="1d")
    assert tree() == before


def test_accepted_findings_are_recorded_for_the_snapshot_and_for_no_other(apple, write):
    raw = apple.series("AAPL", "1d")
    accepted = apple.accept_findings("AAPL", "1d")
    assert accepted.accepted_findings(raw.snapshot) == ("suspected_split",)
    assert apple.research_series("AAPL", "1d").snapshot == raw.snapshot
    assert apple.accept_findings("AAPL", "1d") == accepted
    adjust_series(apple, "AAPL", "1d", write("actions.csv", ACTIONS))
    adjusted = apple.sidecar("AAPL", "1d")
    assert adjusted.accepted_findings(adjusted.snapshot) == ()
    assert adjusted.accepted_findings(raw.snapshot) == ("suspected_split",)


def test_a_dividend_is_the_share_of_the_close_before_it(apple):
    bars = apple.load_research("AAPL", "1d")
    row = 1500
    day = date.fromordinal(date(1970, 1, 1).toordinal() + int(bars.session_day[row]))
    found = find_adjustment(bars, [CorporateAction(day, 1.0, 0.5, 2)], "actions.csv")
    returns = np.diff(np.log(bars.close * found.price))
    assert returns[row - 1] == pytest.approx(np.log(bars.close[row] / (bars.close[row - 1] - 0.5)))
    np.testing.assert_allclose(np.delete(returns, row - 1), np.delete(np.diff(np.log(bars.close)), row - 1), atol=1e-12)
    assert (found.shares == 1).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("date,split\n2005-02-28,4\n", "line 2: a split 4:1 on 2005-02-28 does not show in the prices"),
        ("date,split\n2005-02-28,0.5\n", "does not show"),
        ("date,split\n2004-02-27,2\n", "does not show"),
        ("date,split\n28.02.2005,2\n", "line 2: need a date"),
        ("date,split\n2005-02-28,two\n", "line 2: need a date YYYY-MM-DD and numbers"),
        ("date,split\n2005-02-28,-2\n", "line 2: need a split from 0.001"),
        ("date,dividend\n2005-02-28,99\n", "a dividend of 99 on a price of"),
        ("date,split\n2005-02-28,2\n2005-02-28,2\n", "line 3: 2005-02-28 occurs twice"),
        ("date,ratio\n2005-02-28,2\n", "need the columns date, split, dividend"),
        ("date,split\n1999-01-04,2\n", "no action between 2000-03-01 and 2010-07-26"),
        ("", "is empty"),
    ],
)
def test_a_file_of_actions_that_does_not_fit_is_refused(content, message, apple, write, tree):
    before = tree()
    with pytest.raises(ImportRefused, match=message):
        adjust_series(apple, "AAPL", "1d", write("actions.csv", content))
    assert tree() == before


def test_actions_are_sorted_and_an_unknown_series_is_named(apple, write):
    path = write("actions.csv", ACTIONS)
    assert [action.day.year for action in read_actions(path)] == [2000, 2005, 2012]
    with pytest.raises(NotFound, match="there are AAPL 1d"):
        adjust_series(apple, "MSFT", "1d", path)
