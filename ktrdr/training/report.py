"""training.json: what a training measured. No times, durations or ids of a run: equal runs give equal bytes."""

from pydantic import AwareDatetime, BaseModel, ConfigDict, FiniteFloat


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


class TrainingReport(_Section):
    """The whole of training.json.

    Attributes:
        accuracy: 0..1 on the validation segments at the best weights, mean over folds and seeds.
        final_loss: Cross-entropy there, nats.
        accuracy_sd: Sample standard deviation over seeds of the seed's mean over folds; 0 with one seed.
        final_loss_sd: The same of the loss.
        folds: One entry per fold.
        nulls: Not measured yet.
        coverage: Per fuzzy variable and set of the final model, a share of the research window's rows; as
            `FuzzyEncoder.coverage` defines it.
        rules: None are extracted yet.
        seed: What all randomness of the training derives from.
        snapshot: Names the bars.
        strategy_sha256: Names the specification.
    """

    accuracy: FiniteFloat
    final_loss: FiniteFloat
    accuracy_sd: FiniteFloat
    final_loss_sd: FiniteFloat
    folds: list[FoldReport]
    nulls: None = None
    coverage: dict[str, FiniteFloat]
    rules: None = None
    seed: int
    snapshot: str
    strategy_sha256: str
