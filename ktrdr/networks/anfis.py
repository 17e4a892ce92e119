"""A stack of rule networks (ANFIS): fuzzy rules with linear consequents, memberships that may learn.

For scaled inputs x of one row, with bells as `RuleFrame` has them:

    membership of set s     log m_s = -b_s^2 / 2,   b_s = distance of x beyond the plateau, in widths of that flank
    firing of rule r        w = softmax over rules of the sum of log m_s over the rule's sets, times `temper`
    logit                   sum over rules of w_r * (bias_r + slope_r . x)

So firing is the product of memberships, normalised over the rules. With many inputs a plain product lets one rule
take everything; `temper` makes it as sharp as it is with three.

A learned set moves by at most half of its narrower flank and becomes at most twice as wide or half as wide: it stays
what its name says, and neighbours of a partition cannot change places.

Bells and rules of the frame lie in the parameter row beside what is learned. Their gradient is zero, so they never
change, and copies and checkpoints of a row are whole.

Source:
    Jang (1993), "ANFIS: adaptive-network-based fuzzy inference system"; the tempering is that of Cui, Wu & Xu (2021),
    "Curse of dimensionality for TSK fuzzy neural networks", from four inputs on.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ktrdr.networks.rule_frame import HALF, RuleFrame
from ktrdr.networks.stack import LINE_FLOATS, WIDTH_MULTIPLE, at_least_two, in_chunks, round_up

_FARTHEST = 5.0  # standard deviations: beyond, a linear consequent would be a guess
_SHARP_INPUTS = 3
_NEVER = -1e9  # log firing of a place that holds no rule
_INITIAL_SLOPE = 0.1
_LN2 = math.log(2)
_PER_SET = ("low", "high", "left", "right", "reach", "shift", "stretch")


@dataclass(frozen=True, slots=True)
class AnfisShape:
    """What all networks of a stack share.

    Attributes:
        input_of_set: Input of each fuzzy set, ascending.
        n_rules: Places for rules, 1..64; a network may leave the last ones empty.
        learns_memberships: Whether the sets move and widen, or stay as the strategy has them.
    """

    input_of_set: tuple[int, ...]
    n_rules: int
    learns_memberships: bool

    def __post_init__(self) -> None:
        if not self.input_of_set or self.n_rules < 1 or sorted(set(self.input_of_set)) != list(range(self.n_inputs)):
            raise ValueError(f"need a set for every input and rules >= 1, was {self!r}")

    @property
    def n_inputs(self) -> int:
        """Inputs, one per fuzzy variable."""
        return max(self.input_of_set, default=-1) + 1


@dataclass(frozen=True, slots=True)
class _Block:
    """Where a matrix lies in a parameter row: its true extent, and the padded one."""

    true: tuple[int, int]
    padded: tuple[int, int]
    start: int


@dataclass(frozen=True, slots=True, eq=False)
class _Forward:
    """One forward pass: what the gradient needs of it; `(n_networks, rows, ...)`."""

    beyond: Tensor
    inverse_width: Tensor
    firing: Tensor
    consequents: Tensor
    logits: Tensor


@dataclass(frozen=True, slots=True)
class AnfisStack:
    """The arithmetic of a stack of rule networks; it holds no parameters."""

    shape: AnfisShape
    n_parameters: int = field(init=False)
    _blocks: dict[str, _Block] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        shape = self.shape
        extents = {name: (1, len(shape.input_of_set)) for name in _PER_SET}
        extents |= {
            "antecedents": (len(shape.input_of_set), shape.n_rules),
            "absent": (1, shape.n_rules),
            "consequents": (shape.n_inputs + 1, shape.n_rules),
        }
        blocks, start = {}, 0
        for name, true in extents.items():
            of_sets = name in _PER_SET
            rows = 1 if true[0] == 1 else round_up(true[0], LINE_FLOATS if name == "antecedents" else WIDTH_MULTIPLE)
            padded = (rows, round_up(true[1], LINE_FLOATS if of_sets else WIDTH_MULTIPLE))
            blocks[name] = _Block(true, padded, start)
            start += round_up(padded[0] * padded[1], LINE_FLOATS)
        object.__setattr__(self, "_blocks", blocks)
        object.__setattr__(self, "n_parameters", start)

    @property
    def dropout(self) -> float:
        """None: there is no hidden layer, and a rule that is missing now and then says something else."""
        return 0.0

    @property
    def hidden_widths(self) -> tuple[int, ...]:
        """None."""
        return ()

    @property
    def _set_width(self) -> int:
        return self._blocks["shift"].padded[1]

    def initial_parameters(self, generator: np.random.Generator, frame: RuleFrame | None = None) -> Tensor:
        """Return one network's parameters: sets and rules of the frame, consequents near zero.

        Raises:
            ValueError: No frame, or one of another shape.
        """
        shape = self.shape
        if (
            frame is None
            or tuple(frame.input_of_set.tolist()) != shape.input_of_set
            or len(frame.rules) > shape.n_rules
        ):
            raise ValueError(f"need a frame of at most {shape.n_rules} rules over {shape.input_of_set}, was {frame!r}")
        temper = min(1.0, _SHARP_INPUTS / shape.n_inputs)
        antecedents = np.zeros((len(shape.input_of_set), shape.n_rules))
        for number, sets in enumerate(frame.rules):
            antecedents[sets, number] = temper
        absent = np.full((1, shape.n_rules), _NEVER)
        absent[0, : len(frame.rules)] = 0.0
        flank = HALF * np.minimum(frame.left, frame.right)  # distance at which the membership is one half
        consequents = generator.uniform(-_INITIAL_SLOPE, _INITIAL_SLOPE, (shape.n_inputs + 1, shape.n_rules))
        consequents[:, len(frame.rules) :] = 0.0
        none = np.zeros_like(flank)
        per_set = (frame.low, frame.high, frame.left, frame.right, flank / 2, none, none)
        arrays = {name: values[None] for name, values in zip(_PER_SET, per_set, strict=True)}
        arrays |= {"antecedents": antecedents, "absent": absent, "consequents": consequents}
        return self.pack({name: array[None].astype(np.float32) for name, array in arrays.items()})[0]

    def pack(self, arrays: dict[str, NDArray[np.float32]]) -> Tensor:
        """Return the parameters `(n_networks, n_parameters)` that `unpack` gave out as named arrays.

        Raises:
            ValueError: An array is missing or has another shape than this stack.
        """
        if set(arrays) != set(self._blocks):
            raise ValueError(f"need the arrays {sorted(self._blocks)}, was {sorted(arrays)}")
        n_networks = len(arrays["shift"])
        parameters = torch.zeros(n_networks, self.n_parameters)
        for name, block in self._blocks.items():
            if arrays[name].shape != (n_networks, *block.true):
                raise ValueError(f"{name} needs {(n_networks, *block.true)}, was {arrays[name].shape}")
            view = self._view(parameters, name)
            if name in ("left", "right"):
                view.fill_(1.0)  # padding is divided by
            if name == "absent":
                view.fill_(_NEVER)
            view[:, : block.true[0], : block.true[1]] = torch.from_numpy(arrays[name])
        return parameters

    def unpack(self, parameters: Tensor) -> dict[str, NDArray[np.float32]]:
        """Return copies without padding, `(n_networks, rows, columns)`.

        `low`, `high`, `left`, `right` are the bells before learning, `shift` and `stretch` what was learned of them
        (as `learned_bells` reads it), `antecedents (sets, rules)`, `absent` and `consequents (inputs + 1, rules)`, the
        last row of which is the bias.
        """
        arrays: dict[str, NDArray[np.float32]] = {}
        for name, block in self._blocks.items():
            view = self._view(parameters, name)[:, : block.true[0], : block.true[1]]
            arrays[name] = view.cpu().numpy().copy()
        return arrays

    def prepare(self, rows: NDArray[np.floating]) -> Tensor:
        """Return `(n_rows, width)`: each set's input, then the inputs and a 1 for the bias."""
        if rows.ndim != 2 or rows.shape[1] != self.shape.n_inputs:
            raise ValueError(f"need rows of {self.shape.n_inputs} inputs, was {rows.shape}")
        near = torch.from_numpy(np.clip(rows, -_FARTHEST, _FARTHEST).astype(np.float32))
        n_columns = self._blocks["consequents"].padded[0]
        prepared = torch.zeros(len(rows), self._set_width + round_up(n_columns, WIDTH_MULTIPLE))
        prepared[:, : len(self.shape.input_of_set)] = near[:, list(self.shape.input_of_set)]
        prepared[:, self._set_width : self._set_width + rows.shape[1]] = near
        prepared[:, self._set_width + rows.shape[1]] = 1.0
        return prepared

    def logits(self, parameters: Tensor, prepared: Tensor) -> Tensor:
        """Return every network's logits `(n_networks, n_rows)` for the same rows."""
        return in_chunks(parameters, prepared, lambda stacked, batch: self._forward(stacked, batch).logits)

    def readings(self, parameters: Tensor, prepared: Tensor) -> tuple[Tensor, Tensor]:
        """Return normalised firing and own logit of every rule, `(n_networks, n_rows, n_rules)` each."""
        passed = self._forward(at_least_two(parameters), prepared.expand(max(len(parameters), 2), -1, -1))
        chosen = (slice(len(parameters)), slice(None), slice(self.shape.n_rules))
        return passed.firing[chosen], passed.consequents[chosen]

    def gradient(
        self,
        parameters: Tensor,
        inputs: Tensor,
        *,
        targets: Tensor,
        weights: Tensor,
        kept: tuple[Tensor, ...] | None = None,
    ) -> Tensor:
        """Return the gradient `(n_networks, n_parameters)`, arguments as of `MlpStack.gradient`."""
        n_networks = len(parameters)
        if n_networks == 1:
            parameters, inputs, targets, weights = map(at_least_two, (parameters, inputs, targets, weights))
        passed = self._forward(parameters, inputs)
        gradient = torch.zeros_like(parameters)
        error = torch.sigmoid(passed.logits).sub_(targets).mul_(weights).unsqueeze(2)
        # d logit / d consequent r is the firing of r, and d logit / d log firing r is firing r * (own logit - logit).
        by_rule = passed.firing * error
        columns = inputs[:, :, self._set_width :]
        self._view(gradient, "consequents").copy_(torch.bmm(columns.transpose(1, 2), by_rule))
        if self.shape.learns_memberships:
            by_firing = passed.consequents.sub_(passed.logits.unsqueeze(2)).mul_(by_rule)
            by_log = torch.bmm(by_firing, self._view(parameters, "antecedents").transpose(1, 2))
            moved = by_log.mul_(passed.beyond)  # d log m / d beyond = -beyond, d beyond / d edge = -1 / width
            by_edge = (moved * passed.inverse_width).sum(dim=1, keepdim=True)
            by_width = moved.mul_(passed.beyond).sum(dim=1, keepdim=True)
            shift, stretch = self._view(parameters, "shift"), self._view(parameters, "stretch")
            reach = self._view(parameters, "reach")
            self._view(gradient, "shift").copy_(by_edge * reach * (1 - torch.tanh(shift) ** 2))
            self._view(gradient, "stretch").copy_(by_width * _LN2 * (1 - torch.tanh(stretch) ** 2))
        return gradient[:n_networks]

    def _forward(self, parameters: Tensor, inputs: Tensor) -> _Forward:
        view = {name: self._view(parameters, name) for name in self._blocks}
        move = torch.tanh(view["shift"]) * view["reach"]
        widen = torch.exp(torch.tanh(view["stretch"]) * -_LN2)
        low, high = view["low"] + move, view["high"] + move
        x = inputs[:, :, : self._set_width]
        distance = x - torch.minimum(torch.maximum(x, low), high)
        inverse_width = torch.where(distance < 0, widen / view["left"], widen / view["right"])
        beyond = distance.mul_(inverse_width)
        log_membership = (beyond * beyond).mul_(-0.5)
        firing = torch.softmax(torch.baddbmm(view["absent"], log_membership, view["antecedents"]), dim=2)
        consequents = torch.bmm(inputs[:, :, self._set_width :], view["consequents"])
        logits = (firing * consequents).sum(dim=2)
        return _Forward(beyond, inverse_width, firing, consequents, logits)

    def _view(self, parameters: Tensor, name: str) -> Tensor:
        block = self._blocks[name]
        rows, columns = block.padded
        flat = parameters[:, block.start : block.start + rows * columns]
        return flat.view(len(parameters), rows, columns)


def learned_bells(arrays: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float64]]:
    """Return `low`, `high`, `left`, `right` after learning, `(n_networks, n_sets)`, from what `unpack` gave out."""
    exact = {name: arrays[name][:, 0].astype(np.float64) for name in _PER_SET}
    move = np.tanh(exact["shift"]) * exact["reach"]
    widen = np.exp2(np.tanh(exact["stretch"]))
    return {
        "low": exact["low"] + move,
        "high": exact["high"] + move,
        "left": exact["left"] * widen,
        "right": exact["right"] * widen,
    }
