"""What the final model has learned, as rules that a person can read.

The rules of an `anfis` are the network's own. Those of an `mlp` are of a surrogate: a tree over the strategy's sets,
fitted to the network's answers. How far either tells what the network says is measured on the validation rows, which
neither was fitted on.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from ktrdr.features.encoder import FuzzyEncoder
from ktrdr.features.inputs import FeatureInputs
from ktrdr.networks.anfis import AnfisStack, learned_bells
from ktrdr.networks.rule_frame import FAR, HALF, RuleFrame
from ktrdr.networks.stack import NetworkStack
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.training.model import mean_probability
from ktrdr.training.parts import TrainingPart
from ktrdr.training.report import Edges, Fidelity, LearnedSet, Rule, RulesReport
from ktrdr.training.splits import RowArray
from ktrdr.training.surrogate import CodeArray, grow_tree, tree_answers

FloatArray = NDArray[np.float64]

MOST_LEAVES = 12
_ROWS_AT_ONCE = 8192  # bounds the memory of all rules' readings over a long series


def read_rules(
    specification: StrategySpecification,
    stack: NetworkStack,
    part: TrainingPart,
    parameters: torch.Tensor,
    inputs: FeatureInputs,
) -> RulesReport:
    """Return the rules of the networks whose mean probability is the model's; within `torch_runtime`.

    Args:
        specification: The strategy.
        stack: The networks' arithmetic.
        part: The part that they were fitted on.
        parameters: One row per seed.
        inputs: Inputs of the whole series.
    """
    if isinstance(stack, AnfisStack):
        return _own_rules(specification, stack, part, parameters)
    fitted, n_sets = _strongest_sets(part.encoder, inputs, part.training.fitted)
    validation, _ = _strongest_sets(part.encoder, inputs, part.training.validation)
    # A variable may leave values to none of its sets, and what the network says of those is a rule too.
    highest = np.maximum(fitted.max(axis=0), validation.max(axis=0))
    n_categories = [max(count, int(last) + 1) for count, last in zip(n_sets, highest, strict=True)]
    answers = mean_probability(stack, parameters, part.rows.fitted_inputs)
    leaves = grow_tree(fitted, n_categories, answers, most_leaves=MOST_LEAVES)
    rules = []
    for leaf in leaves:
        conditions = {}
        for number, category in leaf.conditions:
            variable = part.encoder.variables[number]
            is_set = category < len(variable.set_names)
            conditions[variable.name] = variable.set_names[category] if is_set else None
        coverage = float(leaf.holds(validation).mean())
        rules.append(_rule(specification, conditions, leaf.mean, coverage))
    said = mean_probability(stack, parameters, part.rows.validation_inputs)
    return RulesReport(
        source="surrogate", fidelity=_fidelity(tree_answers(leaves, validation), said), rules=_strongest_first(rules)
    )


def _strongest_sets(encoder: FuzzyEncoder, inputs: FeatureInputs, rows: RowArray) -> tuple[CodeArray, list[int]]:
    """Return the set of each variable in which a row is most, `(n_rows, n_variables)`, and the number of sets.

    Rows of none have that number. Of equal memberships the first set counts.
    """
    codes = np.empty((len(rows), len(encoder.variables)), dtype=np.intp)
    n_sets = [len(variable.set_names) for variable in encoder.variables]
    for number, variable in enumerate(encoder.variables):
        memberships = variable.memberships(inputs.values[rows, number])
        codes[:, number] = np.where(memberships.max(axis=1) > 0, memberships.argmax(axis=1), n_sets[number])
    return codes, n_sets


def _own_rules(
    specification: StrategySpecification, stack: AnfisStack, part: TrainingPart, parameters: torch.Tensor
) -> RulesReport:
    frame = part.rows.frame
    if frame is None:
        raise ValueError(f"need the frame that the rule networks of {part.name} started from, was None")
    n_rules = len(frame.rules)
    fired, spoken = np.zeros(n_rules), np.zeros(n_rules)
    for firing, own in _readings(stack, parameters, part.rows.fitted_inputs, n_rules):
        fired += firing.sum(axis=(0, 1))
        spoken += (firing * own).sum(axis=(0, 1))
    p = np.divide(spoken, fired, out=np.full(n_rules, 0.5), where=fired > 0)
    firing_of_rows = [
        firing.mean(axis=0) for firing, _ in _readings(stack, parameters, part.rows.validation_inputs, n_rules)
    ]
    coverage = sum(firing.sum(axis=0) for firing in firing_of_rows) / len(part.rows.validation_inputs)
    told = np.concatenate([(firing * p).sum(axis=1) for firing in firing_of_rows])
    arrays = stack.unpack(parameters)
    consequents = arrays["consequents"].mean(axis=0, dtype=np.float64)
    names = [variable.name for variable in part.encoder.variables]
    set_names = [name for variable in part.encoder.variables for name in variable.set_names]
    rules = []
    for number, sets in enumerate(frame.rules):
        conditions = {names[frame.input_of_set[each]]: set_names[each] for each in sets}
        rule = _rule(specification, conditions, float(p[number]), float(coverage[number]))
        slopes = dict(zip(names, consequents[:-1, number].tolist(), strict=True))
        rules.append(rule.model_copy(update={"bias": float(consequents[-1, number]), "slopes": slopes}))
    said = mean_probability(stack, parameters, part.rows.validation_inputs)
    return RulesReport(
        source="network",
        fidelity=_fidelity(told, said),
        rules=_strongest_first(rules),
        sets=_learned_sets(part, frame, learned_bells(arrays)),
    )


def _readings(
    stack: AnfisStack, parameters: torch.Tensor, scaled: NDArray[np.float32], n_rules: int
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Yield firing and own probability of every rule, `(n_seeds, rows, n_rules)` each, some rows at a time."""
    prepared = stack.prepare(scaled)
    for start in range(0, len(prepared), _ROWS_AT_ONCE):
        firing, logits = stack.readings(parameters, prepared[start : start + _ROWS_AT_ONCE])
        yield firing[..., :n_rules].double().numpy(), torch.sigmoid(logits[..., :n_rules].double()).numpy()


def _learned_sets(part: TrainingPart, frame: RuleFrame, learned: Mapping[str, FloatArray]) -> list[LearnedSet]:
    owner = frame.input_of_set
    mean, deviation = part.scaling.mean[owner], part.scaling.deviation[owner]
    low, high, left, right = (learned[name].mean(axis=0) for name in ("low", "high", "left", "right"))
    names = part.encoder.feature_names

    def edges(number: int, lower: FloatArray, upper: FloatArray) -> Edges:
        ends = [
            float(mean[number] + deviation[number] * each[number]) if abs(each[number]) < FAR / 2 else None
            for each in (lower, upper)
        ]
        return ends[0], ends[1]

    return [
        LearnedSet(
            name=names[number],
            plateau=edges(number, low, high),
            half=edges(number, low - HALF * left, high + HALF * right),
            half_before=edges(number, frame.low - HALF * frame.left, frame.high + HALF * frame.right),
        )
        for number in range(len(owner))
    ]


def _rule(
    specification: StrategySpecification, conditions: Mapping[str, str | None], p: float, coverage: float
) -> Rule:
    outcome = "up" if specification.decision.direction == "both" else "win"
    told = " AND ".join(
        f"{variable} is {'in none of its sets' if name is None else name}" for variable, name in conditions.items()
    )
    words = f"IF {told} THEN" if told else "ALWAYS"
    return Rule(text=f"{words} p({outcome}) = {p:.2f}", conditions=dict(conditions), p=p, coverage=coverage)


def _strongest_first(rules: list[Rule]) -> list[Rule]:
    """Return the rules by how far they move the mean answer, given how many rows they hold."""
    average = sum(rule.p * rule.coverage for rule in rules)
    return sorted(rules, key=lambda rule: -rule.coverage * abs(rule.p - average))


def _fidelity(told: FloatArray, said: FloatArray) -> Fidelity:
    spread = float(((said - said.mean()) ** 2).sum())
    missed = float(((said - told) ** 2).sum())
    rises = float((said > 0.5).mean())
    return Fidelity(
        rows=len(said),
        agreement=float(((told > 0.5) == (said > 0.5)).mean()),
        commoner_side=max(rises, 1 - rises),
        r_squared=1 - missed / spread if said.min() < said.max() else None,
    )
