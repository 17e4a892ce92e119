import subprocess
import sys

import pytest
from talib import abstract

from ktrdr.indicators.catalogue import CATALOGUE, NOT_OFFERED, complete_parameters, parameter_faults

OF_TA_LIB = [name for name, kind in CATALOGUE.items() if not kind.is_of_clock]


@pytest.mark.parametrize("name", OF_TA_LIB)
def test_an_entry_names_what_ta_lib_itself_calls_inputs_outputs_and_parameters(name: str):
    kind = CATALOGUE[name]
    info = abstract.Function(name).info

    columns = [
        each for value in info["input_names"].values() for each in ([value] if isinstance(value, str) else value)
    ]
    assert list(kind.inputs) == columns
    assert list(kind.outputs) == info["output_names"]
    # None is left to TA-Lib's own default, so that another TA-Lib cannot change what a stored strategy means.
    named = [each.name for each in kind.parameters] + [each for each, _ in kind.constants]
    assert sorted(named) == sorted(info["parameters"])
    assert {each.parameter for each in kind.smoothings} <= {each.name for each in kind.parameters}


@pytest.mark.parametrize("name", OF_TA_LIB)
def test_ta_lib_accepts_every_parameter_at_both_ends_of_its_range(name: str):
    kind = CATALOGUE[name]
    larger = {each for _, each in kind.ascending}
    for allowed in kind.parameters:
        for value in (allowed.minimum, allowed.maximum):
            others = {each.name: each.maximum if each.name in larger else each.minimum for each in kind.parameters}
            chosen = {**others, allowed.name: value}
            if parameter_faults(name, chosen):  # this end contradicts the ascending order
                continue
            parameters = complete_parameters(name, chosen)
            assert abstract.Function(name, **parameters, **dict(kind.constants)).lookback >= 0


def test_every_default_lies_on_the_grid_of_its_range():
    for kind in CATALOGUE.values():
        assert parameter_faults(kind.name, {}) == []
        for allowed in kind.parameters:
            steps = (allowed.default - allowed.minimum) / allowed.step
            assert steps == pytest.approx(round(steps)), f"{kind.name}.{allowed.name}"


@pytest.mark.parametrize(
    ("name", "parameters", "faults"),
    [
        ("RSI", {"timeperiod": 1}, ["timeperiod: 1 is below the minimum 2"]),
        ("RSI", {"timeperiod": 2}, []),
        ("RSI", {"timeperiod": 101}, ["timeperiod: 101 is above the maximum 100"]),
        ("RSI", {"timeperiod": 14.5}, ["timeperiod: 14.5 is not a whole number"]),
        ("RSI", {"timeperiod": float("nan")}, ["timeperiod: nan is not a finite number"]),
        ("RSI", {"period": 14}, ["period: is not a parameter of RSI; allowed: timeperiod"]),
        ("BOP", {"timeperiod": 14}, ["timeperiod: is not a parameter of BOP; it takes none"]),
        ("BBANDS", {"timeperiod": 1, "nbdevup": 9},
            ["timeperiod: 1 is below the minimum 2", "nbdevup: 9 is above the maximum 5"]),
        ("MACD", {"fastperiod": 26}, ["fastperiod: 26 must be below slowperiod 26"]),
        ("ULTOSC", {"timeperiod1": 20, "timeperiod2": 10}, ["timeperiod1: 20 must be below timeperiod2 10"]),
        ("RSII", {}, ["type: 'RSII' is not an indicator that ktrdr offers; did you mean RSI?"]),
    ],
)  # fmt: skip
def test_faults_name_the_parameter_what_was_found_and_what_is_allowed(name, parameters, faults):
    assert parameter_faults(name, parameters) == faults


def test_an_indicator_left_out_on_purpose_is_refused_with_the_reason():
    assert not set(NOT_OFFERED) & set(CATALOGUE)
    (fault,) = parameter_faults("OBV", {})
    assert "running total" in fault


def test_the_catalogue_is_importable_without_ta_lib():
    code = "import sys, ktrdr.indicators.catalogue; sys.exit(any(m in sys.modules for m in ('talib', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
