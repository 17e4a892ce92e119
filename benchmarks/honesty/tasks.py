"""The parts of a run: each has a key, can be done in any process, and answers a JSON document."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.honesty import power, unskilled
from benchmarks.honesty.search import run_search

Document = dict[str, object]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is done. `shared`: a folder of further daily series, or None."""

    searches: int
    designs: int
    power_draws: int
    machine_draws: int
    random_draws: int
    copies_searches: int
    losers_draws: int
    shared: Path | None


def plan_tasks(seed: int, plan: Plan) -> dict[str, Callable[[], Document]]:
    """Return every part by its key, spread evenly among the searches: a run that is cut off has some of everything."""
    rest: dict[str, Callable[[], Document]] = {}
    for sharpe, years in power.WHOLE_MACHINE:
        rest[f"machine/{sharpe:g}/{years}"] = _Machine(seed, sharpe, years, plan.machine_draws)
    for symbol in unskilled.market_series(plan.shared):
        for holding in unskilled.HOLDINGS:
            rest[f"random_long/{symbol}/{holding}"] = _RandomLong(
                seed, symbol, holding, plan.random_draws // len(unskilled.HOLDINGS), plan.shared
            )
    rest["copies"] = _Copies(seed, plan.copies_searches)
    rest["losers"] = _Losers(seed, plan.losers_draws)
    for years in reversed(power.YEARS):
        for sharpe in power.SHARPES:
            rest[f"power/{sharpe:g}/{years}"] = _Power(seed, sharpe, years, plan.power_draws)
    searches = {f"search/{number}": _Search(seed, number, plan.designs) for number in range(plan.searches)}
    every = max(1, len(searches) // len(rest))
    mixed: dict[str, Callable[[], Document]] = {}
    others = iter(rest.items())
    for number, (key, task) in enumerate(searches.items()):
        if number % every == 0:
            mixed.update([next(others, (key, task))])
        mixed[key] = task
    return {**mixed, **rest}


@dataclass(frozen=True, slots=True)
class _Search:
    seed: int
    number: int
    designs: int

    def __call__(self) -> Document:
        return run_search(self.seed, self.number, n_designs=self.designs).document()


@dataclass(frozen=True, slots=True)
class _Power:
    seed: int
    sharpe: float
    years: int
    draws: int

    def __call__(self) -> Document:
        return {"cells": power.measure_cell(self.seed, self.sharpe, self.years, n_draws=self.draws)}


@dataclass(frozen=True, slots=True)
class _Machine:
    seed: int
    sharpe: float
    years: int
    draws: int

    def __call__(self) -> Document:
        return power.measure_whole_machine(self.seed, self.sharpe, self.years, n_draws=self.draws)


@dataclass(frozen=True, slots=True)
class _RandomLong:
    seed: int
    symbol: str
    holding: int
    draws: int
    shared: Path | None

    def __call__(self) -> Document:
        bars = unskilled.market_series(self.shared)[self.symbol]
        counted = unskilled.count_random_longs(self.seed, bars, self.holding, n_draws=self.draws)
        return {"series": self.symbol, **counted}


@dataclass(frozen=True, slots=True)
class _Copies:
    seed: int
    searches: int

    def __call__(self) -> Document:
        counted, told = unskilled.ledger_with_copies(unskilled.N_COPIES)
        counts = unskilled.count_near_copies(self.seed, n_searches=self.searches)
        return {**counts, "ledger_counted": counted, "verdict_told": told}


@dataclass(frozen=True, slots=True)
class _Losers:
    seed: int
    draws: int

    def __call__(self) -> Document:
        return unskilled.count_with_losers(self.seed, n_draws=self.draws)
