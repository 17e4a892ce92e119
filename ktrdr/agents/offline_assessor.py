"""Judges a strategy from its figures by stated rules, and says what the figures do not show."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from ktrdr.agents.executor import ToolExecutor
from ktrdr.agents.records import Judgement
from ktrdr.agents.task import AgentTask, AssessmentContext
from ktrdr.agents.tools import SAVE_ASSESSMENT
from ktrdr.backtest.report import VerdictReport
from ktrdr.errors import InvalidInput
from ktrdr.evaluation.verdict_words import years_words
from ktrdr.strategy.specification import FirstMoveLabels, FixedSizing

PROMISING_SHARPE = 0.5
PROMISING_PROFIT_FACTOR = 1.1
PROMISING_DRAWDOWN = 0.25
ENOUGH_TRADES = 30
GOOD_COVERAGE = 0.95
UNSTEADY_ACCURACY_SD = 0.02
TIMING_BY_LUCK = 0.05
READABLE_R_SQUARED = 0.5
EXAMPLE_LENGTH = 300  # a remark has at most 600


@dataclass(frozen=True, slots=True)
class _Figures:
    """What the remarks are made of.

    `majority` is the accuracy of always naming the commoner class, `to_beat` that or what the recipe shows on shifted
    labels, whichever is more.
    """

    sharpe: float
    profit_factor: float
    n_trades: int
    drawdown: float
    total_return: float
    costs_paid: float
    years: float
    accuracy: float
    majority: float
    to_beat: float
    folds_with_skill: int
    n_folds: int

    @property
    def edge(self) -> float:
        return self.accuracy - self.to_beat

    @property
    def gross_return(self) -> float:
        return self.total_return + self.costs_paid


def assess(task: AgentTask, tools: ToolExecutor) -> int:
    """Write the assessment of the task's subject; return how many tool calls that took.

    Raises:
        InvalidInput: The task holds nothing to assess.
    """
    subject = task.context
    if subject is None:
        raise InvalidInput("an assessor needs a subject: training, backtest and gates of one strategy")
    figures = _figures(subject)
    judgement, because = _judge(figures, subject.backtest.verdict)
    strengths, weaknesses = list(_strengths(figures, subject)), list(_weaknesses(figures, subject))
    (strengths if judgement == "promising" else weaknesses).insert(0, because)
    tools.execute(
        SAVE_ASSESSMENT,
        {
            "judgement": judgement,
            "strengths": strengths,
            "weaknesses": [*weaknesses, *_not_shown(figures, subject)],
            "suggestions": list(_suggestions(figures, subject)),
        },
    )
    return 1


def _figures(subject: AssessmentContext) -> _Figures:
    metrics, training = subject.backtest.metrics, subject.training
    chance = [max(fold.base_rate, 1 - fold.base_rate) for fold in training.folds]
    return _Figures(
        sharpe=metrics.sharpe_ratio if metrics.sharpe_ratio is not None else -math.inf,
        profit_factor=metrics.profit_factor if metrics.profit_factor is not None else 0.0,
        n_trades=metrics.n_trades,
        drawdown=metrics.max_drawdown,
        total_return=metrics.total_return,
        costs_paid=metrics.costs_paid,
        years=subject.backtest.window.years,
        accuracy=training.accuracy,
        majority=training.nulls.majority_class.accuracy,
        to_beat=training.nulls.accuracy_to_beat,
        folds_with_skill=sum(fold.accuracy > base for fold, base in zip(training.folds, chance, strict=True)),
        n_folds=len(training.folds),
    )


def _judge(figures: _Figures, verdict: VerdictReport | None) -> tuple[Judgement, str]:
    """Return the judgement and the rule that gave it."""
    if figures.n_trades == 0:
        return "poor", "Judged poor: it never traded, so there is nothing to judge."
    if figures.sharpe <= 0 or figures.profit_factor < 1:
        return "poor", (
            f"Judged poor: net of costs the Sharpe ratio is {figures.sharpe:.2f} and the profit factor "
            f"{figures.profit_factor:.2f}; above 0 and at least 1 are needed for mediocre."
        )
    if verdict is not None and verdict.value == "disproven":
        return "poor", "Judged poor: its verdict is disproven; what is left after taking the market out is a loss."
    missing = [
        text
        for holds, text in (
            (figures.sharpe >= PROMISING_SHARPE, f"a Sharpe ratio of {PROMISING_SHARPE} (is {figures.sharpe:.2f})"),
            (
                figures.profit_factor >= PROMISING_PROFIT_FACTOR,
                f"a profit factor of {PROMISING_PROFIT_FACTOR} (is {figures.profit_factor:.2f})",
            ),
            (figures.n_trades >= ENOUGH_TRADES, f"{ENOUGH_TRADES} trades (has {figures.n_trades})"),
            (
                figures.drawdown <= PROMISING_DRAWDOWN,
                f"a drawdown of at most {PROMISING_DRAWDOWN:.0%} (is {figures.drawdown:.1%})",
            ),
            (figures.edge > 0, f"accuracy above its nulls (is {figures.edge:+.3f} away)"),
        )
        if not holds
    ]
    if missing:
        return "mediocre", f"Judged mediocre: net positive, but promising needs {'; '.join(missing)}."
    return "promising", (
        f"Judged promising by rule: net Sharpe ratio at least {PROMISING_SHARPE}, profit factor at least "
        f"{PROMISING_PROFIT_FACTOR}, {ENOUGH_TRADES} trades or more, drawdown at most {PROMISING_DRAWDOWN:.0%}, "
        "accuracy above its nulls. It is an opinion, not a verdict."
    )


def _strengths(figures: _Figures, subject: AssessmentContext) -> Iterator[str]:
    if figures.edge > 0:
        yield (
            f"Validation accuracy {figures.accuracy:.3f} is above the commoner class ({figures.majority:.3f}, in "
            f"{figures.folds_with_skill} of {figures.n_folds} folds) and above what the same recipe shows on shifted "
            "labels: it has learned something."
        )
        yield from _readable(subject)
    if figures.sharpe > 0 and figures.total_return > 0:
        yield (
            f"Out of sample and net of costs: Sharpe ratio {figures.sharpe:.2f}, profit factor "
            f"{figures.profit_factor:.2f}, total return {figures.total_return:+.1%} over {figures.years:.1f} years."
        )
    if figures.n_trades > 0 and figures.drawdown <= PROMISING_DRAWDOWN:
        yield f"The deepest drawdown was {figures.drawdown:.1%}."
    if figures.n_trades >= ENOUGH_TRADES:
        yield f"{figures.n_trades} trades: more than a lucky handful."
    drawn = subject.backtest.baselines.random_entry
    if drawn is not None and drawn.p_value <= TIMING_BY_LUCK:
        yield f"Only {drawn.p_value:.1%} of {drawn.n} draws of its own signals at random times did as well as it did."


def _readable(subject: AssessmentContext) -> Iterator[str]:
    rules = subject.training.rules
    if rules is None or rules.fidelity.r_squared is None or rules.fidelity.r_squared < READABLE_R_SQUARED:
        return
    strongest = rules.rules[0]
    example = f": {strongest.text} ({strongest.coverage:.0%} of rows)" if len(strongest.text) <= EXAMPLE_LENGTH else ""
    yield (
        f"What it has learned can be read{example}; its {len(rules.rules)} rules tell what the network says with an "
        f"R² of {rules.fidelity.r_squared:.2f} on the validation rows."
    )


def _weaknesses(figures: _Figures, subject: AssessmentContext) -> Iterator[str]:
    for gate in subject.gates:
        if not gate.get("passed"):
            yield f"The {gate.get('gate')} gate refused it ({gate.get('reason')}) and was bypassed."
    if figures.edge <= 0:
        yield (
            f"No skill shown: validation accuracy {figures.accuracy:.3f}; always naming the commoner class has "
            f"{figures.majority:.3f}, and {figures.to_beat:.3f} is needed to beat the recipe on shifted labels too."
        )
    elif figures.folds_with_skill < figures.n_folds:
        weak = figures.n_folds - figures.folds_with_skill
        yield f"In {weak} of {figures.n_folds} folds the accuracy is not above the majority class."
    if subject.training.accuracy_sd > UNSTEADY_ACCURACY_SD:
        yield f"Accuracy varies by {subject.training.accuracy_sd:.3f} (standard deviation) from seed to seed."
    rules = subject.training.rules
    if rules is not None and rules.fidelity.r_squared is not None and rules.fidelity.r_squared < READABLE_R_SQUARED:
        yield (
            f"Its rules tell little of what the network says (R² {rules.fidelity.r_squared:.2f} on the validation "
            "rows): what it has learned cannot be read from them."
        )
    yield from _weak_results(figures)
    yield from _against_baselines(subject)
    thin = _thin_variables(subject)
    if thin:
        yield f"Rows outside every fuzzy set: {', '.join(f'{name} covers {share:.0%}' for name, share in thin)}."


def _weak_results(figures: _Figures) -> Iterator[str]:
    if figures.n_trades == 0:
        return
    if figures.n_trades < ENOUGH_TRADES:
        yield f"Only {figures.n_trades} trades: a few lucky ones could make all of this."
    if figures.drawdown > PROMISING_DRAWDOWN:
        yield f"The deepest drawdown was {figures.drawdown:.1%} of peak equity."
    if figures.gross_return <= 0:
        lost, costs = -figures.gross_return, figures.costs_paid
        yield f"It lost about {lost:.1%} even before its costs of {costs:.1%} of initial equity."
    elif figures.costs_paid >= 0.5 * figures.gross_return:
        share = figures.costs_paid / figures.gross_return
        yield f"Costs of {figures.costs_paid:.1%} of initial equity took about {share:.0%} of its gross profit."


def _not_shown(figures: _Figures, subject: AssessmentContext) -> Iterator[str]:
    known = " ".join(_luck_words(figures, subject))
    if known:
        yield known
    window = subject.backtest.window
    yield (
        f"Seen on {'one market' if len(subject.specification.symbols) == 1 else 'these markets'} only "
        f"({window.symbol} {window.timeframe}, {window.first:%Y-%m-%d} to "
        f"{window.last:%Y-%m-%d}); the sealed bars have not been looked at."
    )


def _suggestions(figures: _Figures, subject: AssessmentContext) -> Iterator[str]:
    decision, labels = subject.specification.decision, subject.specification.labels
    if figures.n_trades == 0:
        yield f"No probability reached decision.enter {decision.enter:g}; a lower one would be a new trial."
        return
    if figures.edge <= 0:
        yield "Change the inputs or the hypothesis rather than thresholds: the network shows nothing to trade on."
    if figures.gross_return > 0 and figures.costs_paid >= 0.5 * figures.gross_return:
        longer = (
            f"a label threshold above {labels.threshold:g} ATR"
            if isinstance(labels, FirstMoveLabels)
            else f"a horizon longer than {labels.horizon} bars"
        )
        yield (
            f"Trade less: {figures.n_trades} trades in {figures.years:.1f} years; {longer} or a higher decision.enter "
            "would leave more after costs."
        )
    if 0 < figures.n_trades < ENOUGH_TRADES:
        yield "Test the same hypothesis on a longer history or another market before changing it."
    if figures.drawdown > PROMISING_DRAWDOWN and figures.total_return > 0:
        sizing = subject.specification.risk.sizing
        yield (
            f"Halve the exposure of {sizing.exposure:g}: it scales drawdown and return alike."
            if isinstance(sizing, FixedSizing)
            else f"Halve risk.sizing.annual_volatility of {sizing.annual_volatility:g}: it scales drawdown and return."
        )
    if figures.sharpe > 0 and figures.edge > 0:
        yield "Try the unchanged specification on another symbol; agreement there says more than any retuning here."
    yield "Do not tune parameters on these test blocks: each variant is another trial and raises the bar for all."


def _thin_variables(subject: AssessmentContext) -> list[tuple[str, float]]:
    coverage = subject.training.coverage
    return [
        (name, coverage[name])
        for name in subject.specification.fuzzy_sets
        if name in coverage and coverage[name] < GOOD_COVERAGE
    ]


def _luck_words(figures: _Figures, subject: AssessmentContext) -> Iterator[str]:
    verdict, interval = subject.backtest.verdict, subject.backtest.metrics.sharpe_ci95
    if verdict is not None:
        yield _verdict_words(verdict)
        yield (
            f"It counts {verdict.n_trials} trials; the luckiest of so many without skill would show about "
            f"{verdict.expected_best_sharpe:.2f}."
        )
    if interval is not None and interval[0] <= 0 < interval[1]:
        yield (
            f"The 95% interval of the Sharpe ratio, {interval[0]:.2f} to {interval[1]:.2f} over {figures.years:.1f} "
            "years, holds zero: it does not tell a gain from a loss."
        )


def _verdict_words(verdict: VerdictReport) -> str:
    if verdict.value == "candidate":
        return "Verdict candidate: above luck and market on these bars, which the search has seen; not proven."
    if verdict.value == "disproven":
        return "Verdict disproven: the 95% interval of its Sharpe ratio, net or less the market's part, is below zero."
    if verdict.psr is None:
        return f"Verdict {verdict.value} ({verdict.reason}): there is nothing to test."
    words = f"Verdict {verdict.value} ({verdict.reason}): {verdict.psr:.0%} likely to be better than luck, 95% needed"
    if verdict.years_needed is None:
        return f"{words}; no length of such a record would be enough, since there is no positive edge."
    return f"{words}; an even chance to show it takes {years_words(verdict.years_needed)} more years of such results."


def _against_baselines(subject: AssessmentContext) -> Iterator[str]:
    held, drawn = subject.backtest.baselines.buy_and_hold, subject.backtest.baselines.random_entry
    sharpe = subject.backtest.metrics.sharpe_ratio
    if sharpe is not None and sharpe <= held.sharpe_ratio:
        yield f"Holding the market over the same bars had a Sharpe ratio of {held.sharpe_ratio:.2f}, no less than it."
    if drawn is not None and drawn.p_value > TIMING_BY_LUCK:
        yield (
            f"{drawn.p_value:.0%} of {drawn.n} draws of its own signals at random times did as well: its timing may "
            "be luck."
        )
