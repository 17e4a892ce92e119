"""A small tree that says what a network answers, in words of categories that a person knows.

It grows best first: of all its leaves and all variables the split that takes the most squared error away comes next. A
split gives every category of its variable a leaf, so that no leaf says "not".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
CodeArray = NDArray[np.intp]

_LEAST_GAIN = 0.005  # share of the squared error about the mean: a split for less is a rule that says nothing new


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf: the category of each variable on the way to it, as `(variable, category)`, and its mean answer."""

    conditions: tuple[tuple[int, int], ...]
    mean: float

    def holds(self, codes: CodeArray) -> NDArray[np.bool_]:
        """Return which rows `(n_rows, n_variables)` of categories come to it."""
        inside = np.ones(len(codes), dtype=bool)
        for variable, category in self.conditions:
            inside &= codes[:, variable] == category
        return inside


def grow_tree(codes: CodeArray, n_categories: Sequence[int], answers: FloatArray, *, most_leaves: int) -> list[Leaf]:
    """Return the leaves of the tree; together they hold every row of such categories once.

    Args:
        codes: Category of each row in each variable, `(n_rows, n_variables)`; at least one row.
        n_categories: Categories of each variable; one with more than `most_leaves` is never split.
        answers: What the network says of each row `(n_rows,)`.
        most_leaves: Where it stops; earlier where no split takes away half a percent of the squared error. A category
            without a row on the way to it gets the mean of those that came as far.
    """
    root = Leaf((), float(answers.mean()))
    least = _LEAST_GAIN * float(((answers - root.mean) ** 2).sum())
    leaves = [root]
    while answers.min() < answers.max():
        choices = [
            (_gain(codes[inside, variable], answers[inside], leaf.mean), place, variable)
            for place, leaf in enumerate(leaves)
            for inside in (leaf.holds(codes),)
            for variable, count in enumerate(n_categories)
            if len(leaves) - 1 + count <= most_leaves and variable not in dict(leaf.conditions)
        ]
        gain, place, variable = max(choices, key=itemgetter(0), default=(0.0, 0, 0))  # of equal ones the first
        if gain <= least:
            break
        leaves[place : place + 1] = _split(leaves[place], variable, n_categories[variable], codes, answers)
    return leaves


def tree_answers(leaves: Sequence[Leaf], codes: CodeArray) -> FloatArray:
    """Return what the tree says of rows of categories, `(n_rows,)`."""
    told = np.full(len(codes), np.nan)
    for leaf in leaves:
        told[leaf.holds(codes)] = leaf.mean
    return told


def _gain(categories: CodeArray, answers: FloatArray, mean: float) -> float:
    """Return how much squared error goes away with a mean for each category."""
    counts = np.bincount(categories)
    sums = np.bincount(categories, weights=answers - mean)
    return float((sums**2 / np.maximum(counts, 1)).sum())


def _split(leaf: Leaf, variable: int, n_categories: int, codes: CodeArray, answers: FloatArray) -> list[Leaf]:
    inside = leaf.holds(codes)
    categories, own = codes[inside, variable], answers[inside]
    children = []
    for category in range(n_categories):
        rows = own[categories == category]
        mean = float(rows.mean()) if len(rows) else leaf.mean
        children.append(Leaf((*leaf.conditions, (variable, category)), mean))
    return children
