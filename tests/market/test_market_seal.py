import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ktrdr.market.seal import SealedPart, add_part, find_first_sealed_row

DAY = 86_400_000


@settings(max_examples=200, deadline=None)
@given(n_bars=st.integers(501, 4000), spacing_hours=st.sampled_from([1, 4, 24]))
def test_the_later_fifth_is_sealed_at_least_250_bars_and_a_year_where_half_stays_for_research(n_bars, spacing_hours):
    label = np.arange(n_bars, dtype=np.int64) * spacing_hours * 3_600_000
    row = find_first_sealed_row(label)
    n_sealed = n_bars - row
    year = 365 * 24 // spacing_hours
    least = max(250, -(-n_bars // 5))
    expected = max(least, year) if n_bars - year >= n_bars / 2 else least
    assert n_sealed == expected


def test_a_short_series_is_sealed_by_count_even_beyond_half_of_it():
    label = np.arange(400, dtype=np.int64) * DAY
    assert find_first_sealed_row(label) == 150
    assert find_first_sealed_row(label[:250]) == 0


def test_a_part_replaces_only_parts_that_it_covers():
    old = SealedPart(sha256="a" * 64, n_bars=10, replaces_from_ms=0, replaces_to_ms=90)
    later = SealedPart(sha256="b" * 64, n_bars=5, replaces_from_ms=95, replaces_to_ms=120)
    whole = SealedPart(sha256="c" * 64, n_bars=30, replaces_from_ms=-50, replaces_to_ms=150)
    parts = add_part((old,), later, (95, 120))
    assert parts == (old, later)
    assert add_part(parts, later, (95, 120)) == parts
    assert add_part(parts, whole, (-50, 150)) == (whole,)
    assert add_part(parts, None, (-500, -400)) == parts
