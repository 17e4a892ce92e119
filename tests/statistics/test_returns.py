import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktrdr.statistics.returns import calendar_years, daily_returns


@given(st.integers(0, 2**32 - 1), st.integers(1, 200))
@settings(max_examples=40, deadline=None)
def test_daily_returns_agree_with_pandas_last_mark_of_each_day(seed, n_bars):
    rng = np.random.default_rng(seed)
    day = np.sort(rng.integers(17_000, 17_030, n_bars)).astype(np.int32)
    equity = 1000.0 * np.exp(np.cumsum(rng.normal(0, 0.05, n_bars)))
    closing = pd.Series(equity).groupby(day).last()
    expected = closing.pct_change()
    expected.iloc[0] = closing.iloc[0] / 900.0 - 1

    measured = daily_returns(equity, day, initial_equity=900.0)

    assert measured.session_day.dtype == np.int32
    assert measured.session_day.tolist() == closing.index.tolist()
    assert measured.net_return == pytest.approx(expected.to_numpy(), abs=1e-12)
    assert 900.0 * np.prod(1 + measured.net_return) == pytest.approx(equity[-1])


def test_the_day_of_ruin_loses_everything_and_later_days_return_nothing():
    equity = np.array([110.0, -11.0, -11.0, -11.0])
    day = np.array([1, 2, 3, 4], dtype=np.int32)
    measured = daily_returns(equity, day, initial_equity=100.0)
    assert measured.net_return == pytest.approx([0.1, -1.1, 0.0, 0.0])


@pytest.mark.parametrize(
    ("equity", "day"),
    [([], []), ([1.0, 2.0], [1]), ([1.0, np.nan], [1, 2]), ([1.0, 2.0], [2, 1])],
    ids=["empty", "unequal lengths", "NaN equity", "days going back"],
)
def test_a_curve_that_has_no_daily_returns_is_refused(equity, day):
    with pytest.raises(ValueError, match="need"):
        daily_returns(np.array(equity), np.array(day, dtype=np.int32), initial_equity=1.0)


def test_a_calendar_year_has_365_and_a_quarter_days():
    four_years = int(pd.Timestamp("2021-03-01").timestamp() - pd.Timestamp("2017-03-01").timestamp()) * 1000
    assert calendar_years(0, four_years) == pytest.approx(4.0, abs=1e-12)
    with pytest.raises(ValueError, match="ends after it begins"):
        calendar_years(5, 5)
