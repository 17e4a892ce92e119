"""training.json: what a training measured. No times, durations or ids of a run: equal runs give equal bytes."""

from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, FiniteFloat, ValidationError

from ktrdr.errors import OperationFailed


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RowCounts(_Section):
    """Bars of a fold: fitted, validated, and predicted in the test block."""

    fitted: int
    validation: int
    test: int


class PurgedCounts(_Section):
    """Rows dropped because their label reaches into the test block, or the first validation row."""

    before_test: int
    before_validation: int


class FoldDates(_Section):
    """Opens (UTC) of the first and the last bar of each part of a fold."""

    fitted: tuple[AwareDatetime, AwareDatetime]
    validation: tuple[AwareDatetime, AwareDatetime]
    test: tuple[AwareDatetime, AwareDatetime]


class FoldReport(_Section):
    """One fold. All but the counts of test bars is measured on its validation segment, at the best weights.

    The best weights are those of the epoch with the lowest loss on these very rows, so accuracy and loss flatter: on
    random walks of 5,000 hourly bars the designer's recipes average 0.54 and 0.68 nats, and their test blocks 0.50 and
    0.71.

    Attributes:
        fold: 1..5.
        rows: Bars per part.
        dates: Span of each part.
        purged: Rows dropped.
        base_rate: Share of class 1 in the validation segment (a rise, or a trade that wins).
        accuracy: 0..1, mean over seeds.
        loss: Cross-entropy in nats, mean over seeds.
        epochs: Epochs run, per seed.
        best_epochs: Epoch whose weights were kept, per seed.
    """

    fold: int
    rows: RowCounts
    dates: FoldDates
    purged: PurgedCounts
    base_rate: FiniteFloat
    accuracy: FiniteFloat
    loss: FiniteFloat
    epochs: list[int]
    best_epochs: list[int]


class MajorityClass(_Section):
    """Always naming the commoner class of each validation segment, known only afterwards; mean over folds, 0..1."""

    accuracy: FiniteFloat


class CircularShifts(_Section):
    """The same recipe on labels shifted in time, as `ktrdr.training.nulls` says: its accuracy where there is no skill.

    Attributes:
        n: Shifts, each fitted on all folds.
        accuracy_mean: Mean over the shifts of the mean over folds.
        accuracy_p95: What one more shift would exceed in at most 5 % of all cases.
    """

    n: int
    accuracy_mean: FiniteFloat
    accuracy_p95: FiniteFloat


class Nulls(_Section):
    """What no skill shows on the same validation segments, with the same choice of the epoch."""

    majority_class: MajorityClass
    circular_shifts: CircularShifts

    @property
    def accuracy_to_beat(self) -> float:
        """Skill is an accuracy above this: above the shifts' 95th percentile and above the commoner class."""
        return max(self.majority_class.accuracy, self.circular_shifts.accuracy_p95)


class ReliabilityBin(_Section):
    """Validation rows whose probability lies in [lower, upper): their mean probability, and the share of class 1."""

    lower: FiniteFloat
    upper: FiniteFloat
    n: int
    mean_probability: FiniteFloat
    share: FiniteFloat


class Calibration(_Section):
    """The validation rows of all folds, each predicted by the mean of its fold's networks.

    Attributes:
        brier_score: Mean squared distance of the probability from what came; 0.25 for always saying one half.
        bins: In order of probability; empty ones are left out.
    """

    brier_score: FiniteFloat
    bins: list[ReliabilityBin]


Edges = tuple[FiniteFloat | None, FiniteFloat | None]
"""A lower and an upper value of an input, null where there is no end on that side."""


class Rule(_Section):
    """One rule of the final model.

    Attributes:
        text: It as a sentence, `IF rsi is oversold AND trend is weak THEN p(up) = 0.57`; `p(win)` where the strategy
            takes one side only.
        conditions: Set of each fuzzy variable that it names, null for a value in none of the variable's sets.
        p: What it says, the mean of what the network says in its fitted rows; of a network's own rule, weighted by
            its firing.
        coverage: Share of the validation rows that it holds; of a network's own rule, its mean firing there.
        bias, slopes: Consequent of a network's own rule, mean over seeds: its log-odds are the bias and, for each
            input, the slope times its distance from the mean of the fitted rows in standard deviations.
    """

    text: str
    conditions: dict[str, str | None]
    p: FiniteFloat
    coverage: FiniteFloat
    bias: FiniteFloat | None = None
    slopes: dict[str, FiniteFloat] | None = None


class LearnedSet(_Section):
    """A fuzzy set as a rule network has it, mean over seeds, in the input's own unit.

    Attributes:
        name: As `rsi.oversold`.
        plateau: Where the membership is 1.
        half: Where it is above one half.
        half_before: Where it was above one half before learning, as in the file.
    """

    name: str
    plateau: Edges
    half: Edges
    half_before: Edges


class Fidelity(_Section):
    """How far rules tell what the network says, on the validation rows of the final model.

    Attributes:
        rows: Their number.
        agreement: Share in which both are on the same side of one half.
        commoner_side: Share in which the network is on its commoner side: what a single rule would agree with.
        r_squared: Of the network's probability; below 0 they tell it worse than its mean would; null where the
            network says the same of all rows.
    """

    rows: int
    agreement: FiniteFloat
    commoner_side: FiniteFloat
    r_squared: FiniteFloat | None


class RulesReport(_Section):
    """What the final model has learned, as rules.

    Attributes:
        source: `network`, whose own rules they are, or `surrogate`, a tree that was fitted to the network's answers.
        fidelity: Of the sentences: a surrogate's rule that holds says its p; of a network's own rules each says its p
            in proportion to its firing, and what is missing is the slopes.
        rules: Those first that move the mean answer most.
        sets: As learned; null for a surrogate, whose sets are those of the file.
    """

    source: Literal["network", "surrogate"]
    fidelity: Fidelity
    rules: list[Rule]
    sets: list[LearnedSet] | None = None


class TrainingReport(_Section):
    """The whole of training.json.

    Attributes:
        accuracy: 0..1 on the validation segments at the best weights, mean over folds and seeds. It flatters, as
            `FoldReport` says.
        final_loss: Cross-entropy there, nats.
        accuracy_sd: Sample standard deviation over seeds of the seed's mean over folds; 0 with one seed.
        final_loss_sd: The same of the loss.
        folds: One entry per fold.
        nulls: What the accuracy must beat to be skill.
        calibration: Of the validation segments; it flatters as the accuracy does.
        coverage: Per fuzzy variable and set of the final model, a share of the research window's rows; as
            `FuzzyEncoder.coverage` defines it.
        unlabelled_rows: Bars with features but without a label, not trained on: their move never came, the window
            reaches past the last bar, or the price ended where it entered.
        rules: What the final model has learned; null in files of earlier versions.
        seed: What all randomness of the training derives from.
        snapshot: Names the bars; of several symbols, as `name_snapshots` names theirs.
        strategy_sha256: Names the specification.
        snapshots: The series of every symbol; empty in files of earlier versions, which know one symbol.
    """

    accuracy: FiniteFloat
    final_loss: FiniteFloat
    accuracy_sd: FiniteFloat
    final_loss_sd: FiniteFloat
    folds: list[FoldReport]
    nulls: Nulls
    calibration: Calibration
    coverage: dict[str, FiniteFloat]
    unlabelled_rows: int = 0
    rules: RulesReport | None = None
    seed: int
    snapshot: str
    strategy_sha256: str
    snapshots: dict[str, str] = {}

    def snapshot_of(self, symbol: str) -> str:
        """Return what names the bars of one of the symbols."""
        return self.snapshots.get(symbol, self.snapshot)


def read_training_report(path: Path) -> TrainingReport:
    """Read training.json.

    Raises:
        OperationFailed: `training_unusable`: it is missing, or was changed into something else.
    """
    try:
        return TrainingReport.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise OperationFailed(
            f"{path} is no training report ({type(error).__name__}); train the strategy again",
            reason="training_unusable",
        ) from error
