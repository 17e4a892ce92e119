"""A grid has the values that a person would write, and its variants are checked as strategy files are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategy_documents import example_document

from ktrdr.errors import InvalidInput, StrategyInvalid
from ktrdr.strategy.validation import validate_strategy
from ktrdr.strategy.variants import expand_grid, parse_axes, split_sweep

MOST = 10_000


def read(*options):
    return parse_axes(split_sweep(options), most=MOST)


def faults_of(document):
    try:
        validate_strategy(document)
    except StrategyInvalid as error:
        return error.faults
    return []


def test_ranges_are_exact_decimals_with_both_ends():
    values = read("decision.enter=0.5:0.7:0.02")["decision.enter"]
    assert list(map(str, values)) == "0.5 0.52 0.54 0.56 0.58 0.6 0.62 0.64 0.66 0.68 0.7".split()
    assert read("risk.max_holding_bars=none,5:20:5,50", "decision.direction=long,both") == {
        "risk.max_holding_bars": [None, 5, 10, 15, 20, 50],
        "decision.direction": ["long", "both"],
    }


@given(st.integers(0, 500), st.integers(1, 50), st.integers(0, 200), st.sampled_from([1, 10, 100, 1000]))
def test_a_range_has_every_value_once(first, step, n_steps, scale):
    text = f"{first / scale}:{(first + n_steps * step) / scale}:{step / scale}"
    values = read(f"risk.stop_loss={text}")["risk.stop_loss"]
    assert values == [(first + number * step) / scale for number in range(n_steps + 1)]


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("decision.enter", "no PATH=VALUES"),
        ("decision.entre=0.5", "did you mean 'decision.enter'"),
        ("labels.horizon=5:9:1", "another training"),
        ("name=a,b", "another training"),
        ("nonsense=1", "cannot be swept"),
        ("decision.enter=", "empty value"),
        ("decision.enter=0.5,,0.6", "empty value"),
        ("decision.enter=0.5:0.7", "no range"),
        ("decision.enter=0.5:nan:0.1", "no range"),
        ("decision.enter=0.5:0.7:0", "above 0"),
        ("decision.enter=0.5:0.7:-0.1", "above 0"),
        ("decision.enter=0.7:0.5:0.02", "runs backwards; write 0.5:0.7:0.02"),
        ("decision.enter=0.5:0.7:0.03", "write 0.5:0.68:0.03"),
        ("decision.enter=0.5,0.5", "given twice"),
        ("decision.enter=0.5:0.7:1e-9", "at most 10,000"),
        ("risk.stop_loss=1:1e29:1", "at most 10,000"),
    ],
)
def test_what_makes_no_grid_is_refused_with_what_to_write(option, words):
    with pytest.raises(InvalidInput, match=words) as refused:
        read(option)
    assert refused.value.reason in ("sweep_invalid", "sweep_too_large")


def test_a_grid_that_explodes_is_refused_before_it_is_made():
    with pytest.raises(InvalidInput, match=r"1,010,000 variants.*at most 10,000") as refused:
        read("decision.enter=0.5:0.6:0.001", "risk.stop_loss=1:50.5:0.5", "risk.take_profit=1:50.5:0.5")
    assert refused.value.reason == "sweep_too_large"
    with pytest.raises(InvalidInput, match="given twice"):
        split_sweep(["decision.enter=0.5", "decision.enter=0.6"])


def test_variants_are_what_the_validator_makes_of_the_changed_file():
    """Accepted and refused alike, the values in any form that a file could have."""
    stored = validate_strategy(example_document())
    rng = np.random.default_rng(1)
    values = {
        "decision.enter": [0.5, 0.55, 0.6, 0.95, 1, 0.4, "high"],
        "decision.exit": [0.5, 0.3, 0.58, 0],
        "decision.direction": ["long", "both", "up"],
        "risk.stop_loss": [None, 2, 0.5, 60],
        "risk.max_holding_bars": [None, 5, 5.5],
        "risk.sizing.exposure": [0.5, 1, 2, None],
    }
    seen = set()
    for _ in range(300):
        paths = rng.choice(list(values), 3, replace=False)
        changes = {str(path): values[path][rng.integers(len(values[path]))] for path in paths}
        document = stored.document()
        for path, value in changes.items():
            *above, field = path.split(".")
            place = document
            for name in above:
                place = place[name]
            place.pop(field, None)
            if value is not None:
                place[field] = value
        axes = {path: [value] for path, value in changes.items()}
        faults = faults_of(document)
        if faults:
            with pytest.raises(InvalidInput) as refused:
                expand_grid(stored, axes)
            assert [fault for fault in faults if fault not in refused.value.message] == []
            seen.add("refused")
            continue
        expected = validate_strategy(document)
        if expected.configuration_sha256() == stored.configuration_sha256():
            with pytest.raises(InvalidInput, match="only variant"):
                expand_grid(stored, axes)
            continue
        (variant,) = expand_grid(stored, axes).variants
        assert variant.specification == expected
        assert variant.configuration_sha256 == expected.configuration_sha256()
        seen.add("accepted")
    assert seen == {"refused", "accepted"}


def test_a_point_that_is_the_stored_file_is_no_variant():
    stored = validate_strategy(example_document())
    grid = expand_grid(stored, read("decision.enter=0.5:0.6:0.05", "risk.stop_loss=none,2"))
    assert [(each.number, each.values) for each in grid.variants] == [
        (1, (0.5, None)),
        (2, (0.5, 2)),
        (3, (0.55, None)),
        (5, (0.6, None)),
        (6, (0.6, 2)),
    ]
    assert (grid.stored.number, grid.stored.values, grid.stored.specification) == (0, (0.55, 2.0), stored)
