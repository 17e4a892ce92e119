"""Ours beside a peer in one run: in turns, medians, the noise of their ratio, a row of the table of targets.

Seconds are the processor's unless said otherwise. Every contestant has one thread and waits for nothing, so that on an
idle machine they are the clock's; on one that does other things too, the clock tells of those.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Row:
    """A target and what this run says of it. `ratio` is None where it was not measured; `peer` then says why.

    `noise` is half the distance between the quartiles of the rounds' own ratios, in units of the ratio.
    """

    what: str
    ours: str
    peer: str
    ratio: float | None
    noise: float
    target: float
    is_at_most: bool = False
    limit: str = ""

    @property
    def is_missed(self) -> bool:
        """Whether the ratio is on the wrong side of its target by more than the noise."""
        if self.ratio is None:
            return False
        return self.ratio - self.noise > self.target if self.is_at_most else self.ratio + self.noise < self.target

    @property
    def verdict(self) -> str:
        """The last column: met, within noise (on the wrong side, not by more than the noise), MISSED, not measured."""
        if self.ratio is None:
            return "not measured"
        if self.is_missed:
            return "MISSED"
        is_met = self.ratio <= self.target if self.is_at_most else self.ratio >= self.target
        return "met" if is_met else "within noise"


def timed(run: Callable[[], object], repeats: int = 1) -> Callable[[], float]:
    """Return a turn: the median processor seconds of `repeats` calls, for runs too short to be timed once."""

    def turn() -> float:
        taken = []
        for _ in range(repeats):
            began = time.process_time()
            run()
            taken.append(time.process_time() - began)
        return statistics.median(taken)

    return turn


def take_turns(turns: Mapping[str, Callable[[], float]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Return what each turn measured, one after the other in every round; the first round is not counted."""
    found: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(rounds + 1):
        for name, turn in turns.items():
            measured = turn()
            if number > 0:
                found[name].append(measured)
    return found


def faster(
    what: str,
    ours: Sequence[float],
    peer: Sequence[float],
    *,
    at_least: float,
    amounts: tuple[float, float],
    unit: str,
    name: str,
    limit: Sequence[float] | None = None,
) -> Row:
    """Return the row of a speed: how many times ours is the peer's.

    Args:
        what: The target in words.
        ours: Seconds of each round.
        peer: Seconds of each round, of the same rounds.
        at_least: The target.
        amounts: What ours and the peer got done in a turn, in thousands of `unit`.
        unit: Of what is done.
        name: The peer.
        limit: Seconds of each round in which the machine could at best do what ours does.
    """
    rates = [amount / statistics.median(taken) for amount, taken in zip(amounts, (ours, peer), strict=True)]
    ratios = [theirs / own * amounts[0] / amounts[1] for own, theirs in zip(ours, peer, strict=True)]
    shown = [f"{rate:,.0f} k {unit}/s" for rate in rates]
    reached = "" if limit is None else f"{median_fraction(limit, ours):.0%}"
    ratio, noise = statistics.median(ratios), noise_of(ratios)
    return Row(what, shown[0], f"{name}: {shown[1]}", ratio, noise, at_least, limit=reached)


def cheaper(
    what: str, ours: Sequence[float], peer: Sequence[float], *, at_most: float, unit: str, name: str, scale: float = 1.0
) -> Row:
    """Return the row of a cost: ours as a fraction of the peer's, of measures in `unit` once multiplied by `scale`."""
    ratios = [own / theirs for own, theirs in zip(ours, peer, strict=True)]
    shown = [f"{statistics.median(each) * scale:.3g} {unit}" for each in (ours, peer)]
    return Row(what, shown[0], f"{name}: {shown[1]}", statistics.median(ratios), noise_of(ratios), at_most, True)


def of_limit(
    what: str, ours: Sequence[float], limits: Sequence[float], *, at_least: float, unit: str, name: str
) -> Row:
    """Return the row of a limit of the machine, measured in the same rounds: which fraction of it ours reaches."""
    fractions = [own / most for own, most in zip(ours, limits, strict=True)]
    shown = [f"{statistics.median(each):,.0f} {unit}" for each in (ours, limits)]
    fraction = statistics.median(fractions)
    return Row(what, shown[0], f"{name}: {shown[1]}", fraction, noise_of(fractions), at_least, limit=f"{fraction:.0%}")


def not_measured(what: str, target: float, why: str, *, is_at_most: bool = False) -> Row:
    """Return the row of a target whose peer is not here."""
    return Row(what, "-", why, None, 0.0, target, is_at_most)


def median_fraction(parts: Sequence[float], wholes: Sequence[float]) -> float:
    """Return the median of the rounds' own fractions."""
    return statistics.median(part / whole for part, whole in zip(parts, wholes, strict=True))


def noise_of(ratios: Sequence[float]) -> float:
    """Return half the distance between the quartiles."""
    lower, _, upper = statistics.quantiles(ratios, n=4, method="inclusive")
    return (upper - lower) / 2


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a table of Markdown."""
    lines = [
        "| target | at least / most | ours | peer or limit | ratio ± noise | of the limit | |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        bound = f"{'≤' if row.is_at_most else '≥'} {row.target:g}"
        ratio = "-" if row.ratio is None else f"{row.ratio:.3g} ± {row.noise:.2g}"
        lines.append(f"| {row.what} | {bound} | {row.ours} | {row.peer} | {ratio} | {row.limit} | {row.verdict} |")
    return "\n".join(lines)


def show(rows: Sequence[Row]) -> int:
    """Print the table; return 1 where a target is missed."""
    print(table(rows), flush=True)
    return 1 if any(row.is_missed for row in rows) else 0
