import numpy as np
import pytest
from training_samples import bars_from_returns, ignore_progress, strategy

from ktrdr.features.inputs import compute_inputs
from ktrdr.labels.label import make_labels
from ktrdr.training.rows import usable_rows
from ktrdr.training.splits import split_training_part
from ktrdr.training.surrogate import grow_tree, tree_answers
from ktrdr.training.train import train_strategy

RECIPE = {"epochs": 30, "batch_size": 64, "learning_rate": 0.01, "patience": 30, "seeds": 2}
SETS = {"change": ["down", "flat", "up"], "place": ["low", "high"]}


def planted_bars(n_bars=2400):
    """Bars that toss a coin, but for those after a clear rise to the upper half of the range: 88 % of those fall."""
    generator = np.random.default_rng(3)
    size = generator.standard_normal(n_bars) * 0.002
    returns = np.zeros(n_bars)
    level = np.zeros(n_bars + 1)
    for bar in range(n_bars):
        recent = level[max(bar - 13, 0) : bar + 1]
        is_high = level[bar] > (recent.min() + recent.max()) / 2
        planted = bar > 14 and returns[bar - 1] > 0.0009 and is_high
        returns[bar] = -abs(size[bar]) if planted and generator.random() < 0.88 else size[bar]
        level[bar + 1] = level[bar] + returns[bar]
    return bars_from_returns(returns)


BARS = planted_bars()


def train(model, seeds):
    recipe = {**RECIPE, "seeds": seeds}
    specification = strategy(model=model, training=recipe)
    outcome = train_strategy(specification, BARS, seed=1, on_progress=ignore_progress, n_shifts=1)
    inputs, labels = compute_inputs(specification, BARS), make_labels(specification, BARS)
    return outcome, inputs, split_training_part(usable_rows(inputs, labels), labels.end, len(BARS))


def planted_rule(rules):
    strongest = rules.rules[0]
    assert strongest.conditions == {"change": "up", "place": "high"}
    assert strongest.text == f"IF change is up AND place is high THEN p(up) = {strongest.p:.2f}"
    others = [rule for rule in rules.rules if rule is not strongest and rule.coverage > 0.05]
    assert others
    assert strongest.p < 0.3 < min(rule.p for rule in others)
    return strongest


def check_fidelity(fidelity, told, said):
    assert fidelity.rows == len(said)
    assert fidelity.agreement == pytest.approx(np.mean(np.sign(told - 0.5) == np.sign(said - 0.5)))
    assert fidelity.commoner_side == pytest.approx(max(np.mean(said > 0.5), np.mean(said < 0.5)))
    assert fidelity.r_squared == pytest.approx(1 - np.mean((said - told) ** 2) / np.var(said), abs=1e-5)
    assert fidelity.agreement > 0.85
    assert fidelity.r_squared > 0.6


def test_a_surrogate_finds_the_planted_rule_and_its_sentences_alone_give_its_figures():
    outcome, inputs, training = train({"type": "mlp", "hidden": [8, 4], "dropout": 0.1}, seeds=2)
    rules = outcome.report.rules
    assert (rules.source, rules.sets) == ("surrogate", None)
    planted_rule(rules)
    strongest_set = {
        variable.name: np.array(SETS[variable.name])[variable.memberships(inputs.values[:, column]).argmax(axis=1)]
        for column, variable in enumerate(outcome.model.encoder.variables)
    }
    holds = np.array(
        [
            np.logical_and.reduce([strongest_set[name] == set_name for name, set_name in rule.conditions.items()])
            for rule in rules.rules
        ]
    )[:, inputs.first_row :]
    assert (holds.sum(axis=0) == 1).all()
    said = outcome.model.predict(inputs)
    fitted, validation = (rows - inputs.first_row for rows in (training.fitted, training.validation))
    for rule, rows in zip(rules.rules, holds, strict=True):
        assert rule.coverage == pytest.approx(rows[validation].mean())
        assert rule.p == pytest.approx(said[inputs.first_row :][fitted][rows[fitted]].mean(), abs=1e-6)
    told = np.array([rule.p for rule in rules.rules])[holds.argmax(axis=0)]
    check_fidelity(rules.fidelity, told[validation], said[training.validation])


def bell(learned, x):
    """Membership of a set as training.json describes it: one on the plateau, one half where it says so."""
    distance = np.zeros(len(x))
    for (edge, half), sign in zip(zip(learned.plateau, learned.half, strict=True), (-1, 1), strict=True):
        if edge is not None:
            distance += np.maximum(sign * (x - edge), 0) / abs(half - edge)
    return 0.5 ** (distance**2)


def test_rules_and_sets_of_a_rule_network_are_the_network_and_hold_the_planted_rule():
    outcome, inputs, training = train({"type": "anfis", "rules": 6}, seeds=1)
    rules = outcome.report.rules
    assert (rules.source, len(rules.rules)) == ("network", 6)
    planted_rule(rules)
    names = list(SETS)
    scaling = outcome.model.scaling
    scaled = np.clip((inputs.values - scaling.mean) / scaling.deviation, -5, 5)
    near = scaled * scaling.deviation + scaling.mean
    sets = {each.name: bell(each, near[:, names.index(each.name.partition(".")[0])]) for each in rules.sets}
    firing = np.array(
        [np.prod([sets[f"{name}.{each}"] for name, each in rule.conditions.items()], axis=0) for rule in rules.rules]
    )
    firing /= firing.sum(axis=0)
    own = np.array([rule.bias + scaled @ [rule.slopes[name] for name in names] for rule in rules.rules])
    said = outcome.model.predict(inputs)
    known = slice(inputs.first_row, None)
    np.testing.assert_allclose((1 / (1 + np.exp(-(firing * own).sum(axis=0))))[known], said[known], atol=1e-4)
    for rule, weight, logit in zip(rules.rules, firing, own, strict=True):
        assert rule.coverage == pytest.approx(weight[training.validation].mean(), abs=1e-4)
        spoken = np.average(1 / (1 + np.exp(-logit[training.fitted])), weights=weight[training.fitted])
        assert rule.p == pytest.approx(spoken, abs=1e-4)
    told = (firing * np.array([rule.p for rule in rules.rules])[:, None]).sum(axis=0)
    check_fidelity(rules.fidelity, told[training.validation], said[training.validation])
    before = {each.name: each.half_before for each in rules.sets}
    assert before["place.low"][1] == pytest.approx(-55)
    assert any(each.half != pytest.approx(each.half_before) for each in rules.sets if each.half[0] is not None)


def test_a_tree_splits_whole_variables_best_first_and_keeps_to_its_leaves():
    generator = np.random.default_rng(2)
    n_categories = [3, 2, 13, 4]
    codes = np.stack([generator.integers(count, size=3000) for count in n_categories], axis=1)
    codes[(codes[:, 0] == 1) & (codes[:, 1] == 1), 3] = 2  # one branch has rows in one category of the last alone
    truth = 0.5 + 0.2 * (codes[:, 0] == 1) * (codes[:, 1] - 0.5) + 0.1 * (codes[:, 3] == 0)
    answers = truth + generator.standard_normal(3000) * 0.001 + (codes[:, 2] == 5) * 0.05
    leaves = grow_tree(codes, n_categories, answers, most_leaves=12)
    assert len(leaves) <= 12
    assert sum(leaf.holds(codes) for leaf in leaves).tolist() == [1] * 3000
    assert 2 not in {variable for leaf in leaves for variable, _ in leaf.conditions}  # it has more sets than leaves
    firsts = {leaf.conditions[0][0]: 0 for leaf in leaves}
    within = {
        variable: sum(
            ((rows - rows.mean()) ** 2).sum()
            for rows in (answers[codes[:, variable] == category] for category in range(n_categories[variable]))
        )
        for variable in (0, 1, 3)
    }
    assert list(firsts) == [min(within, key=within.__getitem__)]
    told = tree_answers(leaves, codes)
    assert ((answers - told) ** 2).sum() < 0.5 * min(within.values())
    assert grow_tree(codes, n_categories, np.full(3000, 0.1), most_leaves=12)[0].conditions == ()


def test_values_in_none_of_a_variable_s_sets_have_a_rule_of_their_own():
    corners = {"low": [-100, -100, -80, -70], "high": [-30, -20, 0, 0]}
    sets = {name: {"shape": "trapezoid", "points": points} for name, points in corners.items()}
    specification = strategy(
        indicators={"place": {"type": "WILLR", "timeperiod": 14}},
        fuzzy_sets={"place": {"input": "place", "sets": sets}},
        training={**RECIPE, "seeds": 1, "epochs": 8},
    )
    outcome = train_strategy(specification, BARS, seed=1, on_progress=ignore_progress, n_shifts=1)
    by_set = {rule.conditions.get("place", "-"): rule for rule in outcome.report.rules.rules}
    assert set(by_set) == {"low", "high", None}
    assert by_set[None].text.startswith("IF place is in none of its sets THEN p(up) = 0.")
    assert 0.1 < by_set[None].coverage < 0.6
