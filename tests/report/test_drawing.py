"""Charts are right where a reader measures them: in their pixels."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ktrdr.fuzzy.shape import Shape, shape_memberships
from ktrdr.report.charts import Block, Curve, drawdown_chart, equity_chart, outline, trades_chart
from ktrdr.report.drawing import keep_extremes, round_marks


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200), st.integers(1, 40))
def test_fewer_points_keep_the_ends_and_extremes_of_every_column(values, n_columns):
    array = np.array(values)
    columns = np.arange(len(array)) * n_columns // len(array)
    kept = keep_extremes(columns, array)
    assert (np.diff(kept) > 0).all()
    assert (kept[0], kept[-1]) == (0, len(array) - 1)
    for column in np.unique(columns):
        whole, thinned = array[columns == column], array[kept[columns[kept] == column]]
        assert (thinned.min(), thinned.max()) == (whole.min(), whole.max())
        assert (thinned[0], thinned[-1], len(thinned) <= 4) == (whole[0], whole[-1], True)


@given(st.floats(-1e6, 1e6), st.floats(1e-2, 1e9), st.integers(2, 10))
def test_marks_of_an_axis_are_few_round_evenly_spaced_and_inside(low, span, at_most):
    high = low + span
    marks = np.array(round_marks(low, high, at_most))
    assert len(marks) <= at_most + 1
    slack = 1e-9 * max(abs(low), abs(high))
    assert (marks >= low - slack).all()
    assert (marks <= high + slack).all()
    if len(marks) > 2:
        step = marks[1] - marks[0]
        assert np.allclose(np.diff(marks), step, rtol=1e-4)
        assert round(step / 10 ** np.floor(np.log10(step * 1.0001)), 3) in (1.0, 2.0, 2.5, 5.0)


def test_outlines_of_fuzzy_sets_are_their_membership_functions():
    x = np.linspace(-9.5, 19.5, 400)
    for kind, points in {
        "triangle": (0.0, 2.5, 7.0),
        "trapezoid": (-1.0, 2.0, 4.0, 9.0),
        "left_shoulder": (-2.0, 3.0),
        "right_shoulder": (1.0, 8.0),
        "gaussian": (5.0, 2.0),
    }.items():
        corners, heights = outline(kind, points, -10.0, 20.0)
        expected = shape_memberships([Shape(kind, points)], x)[:, 0]
        worst = np.abs(np.interp(x, corners, heights) - expected).max()
        assert worst < (0.01 if kind == "gaussian" else 1e-12), (kind, worst)
        assert math.isclose(corners[0], -10.0)
        assert math.isclose(corners[-1], 20.0)


def test_charts_stay_small_however_many_bars_and_trades_and_say_what_they_leave_out():
    n_bars, n_trades = 100_000, 4000
    rng = np.random.default_rng(1)
    time = 3_600_000 * np.arange(n_bars)
    equity = 1e5 * np.exp(np.cumsum(rng.normal(0, 1e-3, n_bars)))
    curve = Curve(time, equity, equity[::-1].copy(), 1e5)
    prices = np.column_stack((equity, equity * 1.001, equity * 0.999, equity))
    entry = np.sort(rng.integers(0, n_bars - 20, n_trades))
    moments = time[entry], time[entry + 20], equity[entry], equity[entry + 20]
    block = Block(1, time, prices, rng.random(n_trades) > 0.5, *moments, rng.normal(size=n_trades), "TEST")
    chart = trades_chart(block)
    assert len(equity_chart(curve)) + len(drawdown_chart(curve)) + 5 * len(chart) < 500_000
    assert "4000 trades" in chart
    assert "The 600 with the largest profit or loss are marked." in chart
