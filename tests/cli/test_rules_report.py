"""Rules in words, whatever a training's report holds or lacks."""

from ktrdr.cli.rules_report import rules_lines

FIDELITY = {"rows": 357, "agreement": 0.934, "commoner_side": 0.602, "r_squared": 0.71}
RULES = [
    {"text": "IF rsi is oversold AND trend is weak THEN p(up) = 0.57", "conditions": {}, "p": 0.57, "coverage": 0.1234},
    {"text": "IF rsi is neutral THEN p(up) = 0.50", "conditions": {}, "p": 0.5, "coverage": 0.5},
]


def test_all_rules_are_printed_with_coverage_and_fidelity():
    lines = list(rules_lines({"rules": {"source": "surrogate", "fidelity": FIDELITY, "rules": RULES, "sets": None}}))
    assert lines == [
        "",
        "Rules, of a tree that was fitted to the network's answers:",
        "  IF rsi is oversold AND trend is weak THEN p(up) = 0.57  (12.3% of rows)",
        "  IF rsi is neutral THEN p(up) = 0.50                     (50.0% of rows)",
        "On 357 validation rows these sentences take the network's side in 93.4% (always saying its commoner side: "
        "60.2%); R² of its p 0.71.",
    ]


def test_sets_that_a_network_learned_are_told_in_the_unit_of_their_input():
    sets = [
        {"name": "rsi.oversold", "plateau": [None, None], "half": [None, 37.44], "half_before": [None, 32.5]},
        {"name": "rsi.neutral", "plateau": [None, None], "half": [40.0, 61.25], "half_before": [40.0, 60.0]},
        {"name": "rsi.overbought", "plateau": [None, None], "half": [67.5, None], "half_before": [None, None]},
    ]
    fidelity = {**FIDELITY, "r_squared": None}
    lines = list(rules_lines({"rules": {"source": "network", "fidelity": fidelity, "rules": RULES, "sets": sets}}))
    assert "R² of its p -." in lines[4]
    assert lines[6:] == [
        "  rsi.oversold    below 37.44  (before learning below 32.5)",
        "  rsi.neutral     40 to 61.25  (before learning 40 to 60)",
        "  rsi.overbought  above 67.5   (before learning everywhere)",
    ]


def test_trainings_of_an_earlier_version_say_how_to_get_rules():
    assert list(rules_lines(None)) == []
    assert "train the strategy again" in list(rules_lines({"rules": None}))[1]
    assert "train the strategy again" in list(rules_lines({"rules": {"source": "x"}}))[1]
