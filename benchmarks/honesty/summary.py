"""From the lines of a run to its figures, each share with the interval that its count allows."""

import os
import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from scipy.stats import beta

from benchmarks.honesty.search import SearchRecord

MOST_PROVEN = 0.01
MOST_CANDIDATES = 0.05

Figures = dict[str, object]


def clopper_pearson(count: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share, given how often something happened among n.

    Source:
        Clopper & Pearson (1934).
    """
    if not 0 <= count <= n or n == 0:
        raise ValueError(f"need 0 <= count <= n and n > 0, was {count} of {n}")
    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else float(beta.ppf(tail, count, n - count + 1))
    high = 1.0 if count == n else float(beta.ppf(1 - tail, count + 1, n - count))
    return low, high


def share(count: int, n: int) -> Figures:
    """Return a count, what it is of, the share and its 95 % interval."""
    return {"count": count, "n": n, "share": count / n, "ci95": list(clopper_pearson(count, n))}


def summarise(done: Mapping[str, Mapping[str, object]], about: Figures) -> Figures:
    """Return the figures of everything that is done."""
    searches = [SearchRecord(**document) for key, document in done.items() if key.startswith("search/")]  # type: ignore[arg-type]
    return {
        "about": about,
        "all": _of_searches(searches) if searches else None,
        "by_kind": {
            kind: _of_searches([each for each in searches if each.kind == kind])
            for kind in sorted({each.kind for each in searches})
        },
        "proven": [each.document() for each in searches if each.is_proven],
        "faults": {str(each.number): each.faults for each in searches if each.faults},
        "power": [cell for key, each in done.items() if key.startswith("power/") for cell in _cells(each)],
        "machine": [
            {
                **each,
                "candidate": share(int(str(each["candidates"])), int(str(each["draws"]))),
                "proven": share(int(str(each["proven"])), int(str(each["draws"]))),
            }
            for key, each in done.items()
            if key.startswith("machine/")
        ],
        "random_long": _random_long([each for key, each in done.items() if key.startswith("random_long/")]),
        "copies": _copies(done.get("copies")),
        "losers": _losers(done.get("losers")),
    }


def broken_claims(results: Figures) -> list[str]:
    """Return what is claimed and does not hold.

    The headline's own share counts. Of random positions, whose true share may be next to the limit, the interval must
    lie above it: some of the honest ones would else be called broken by chance.
    """
    broken = []
    of_all, copies, losers = results["all"], results["copies"], results["losers"]
    if isinstance(of_all, dict):
        if of_all["proven"]["share"] > MOST_PROVEN:
            broken.append(f"at most 1 % of the searches end proven: {of_all['proven']}")
        if of_all["faulty"]:
            broken.append(f"every trial is in the ledger: {of_all['faulty']} searches have faults: {results['faults']}")
    random_long = results["random_long"]
    assert isinstance(random_long, dict)
    for name, counted in random_long["by_series"].items():
        if counted["ci95"][0] > MOST_CANDIDATES:
            broken.append(f"random positions on {name} are candidates in at most 5 %: {counted}")
    if isinstance(copies, dict) and copies["candidate"]["share"] > MOST_CANDIDATES:
        broken.append(f"near-copies make a candidate in at most 5 %: {copies['candidate']}")
    if isinstance(losers, dict) and losers["with"]["count"] < losers["without"]["count"]:
        broken.append(f"losers among the trials cost no power: {losers}")
    return broken


def machine_words() -> str:
    """Return what the figures were made on."""
    names = [line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} cores, {platform.system()}"


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def _of_searches(searches: list[SearchRecord]) -> Figures:
    n = len(searches)
    looks = [len(each.exams) for each in searches]
    return {
        "searches": n,
        "trials": sum(each.n_trials for each in searches),
        "designs": sum(each.n_designs for each in searches),
        "trials_each": [min(each.n_trials for each in searches), max(each.n_trials for each in searches)],
        "failures": dict(Counter(reason for each in searches for reason in each.failures).most_common()),
        "without_any_verdict": sum(each.n_trials == len(each.failures) for each in searches),
        "candidate": share(sum(each.n_candidates > 0 for each in searches), n),
        "looks": sum(looks),
        "most_looks": max(looks),
        "no_exam": sum(each.n_candidates > 0 and not each.exams for each in searches),
        "proven": share(sum(each.is_proven for each in searches), n),
        "naively_found": share(sum(each.is_naively_found for each in searches), n),
        "candidate_alone": share(sum(each.is_candidate_alone for each in searches), n),
        "passed_at_a_fixed_bar": share(sum(each.is_passed_at_a_fixed_bar for each in searches), n),
        "passed_uncounted": share(sum(each.is_passed_uncounted for each in searches), n),
        "passed_by_the_vault_alone": share(sum(each.is_passed_by_the_vault_alone for each in searches), n),
        "best_sharpe_mean": _mean(each.best_sharpe for each in searches if each.best_sharpe is not None),
        "best_sharpe_max": max((each.best_sharpe for each in searches if each.best_sharpe is not None), default=None),
        "faulty": sum(bool(each.faults) or each.n_counted != each.n_trials for each in searches),
        "seconds_a_trial": sum(each.seconds for each in searches) / max(1, sum(each.n_trials for each in searches)),
    }


def _cells(document: Mapping[str, object]) -> list[Figures]:
    cells = document["cells"]
    assert isinstance(cells, list)
    return [
        {
            **cell,
            "candidate": share(cell["candidates"], cell["draws"]),
            "proven": share(cell["proven"], cell["draws"]),
        }
        for cell in cells
    ]


def _random_long(rows: list[Mapping[str, object]]) -> Figures:
    series = list(dict.fromkeys(str(row["series"]) for row in rows))

    def total(name: str, column: str) -> int:
        return sum(int(str(row[column])) for row in rows if row["series"] == name)

    return {
        "rows": [{**row, "candidate": share(int(str(row["candidates"])), int(str(row["draws"])))} for row in rows],
        "by_series": {name: share(total(name, "candidates"), total(name, "draws")) for name in series},
        "on_net_alone": {name: share(total(name, "on_net_alone"), total(name, "draws")) for name in series},
        "market_sharpe": {str(row["series"]): row["market_sharpe"] for row in rows},
    }


def _copies(document: Mapping[str, object] | None) -> Figures | None:
    if document is None:
        return None
    n = int(str(document["searches"]))
    return {
        "candidate": share(int(str(document["candidates"])), n),
        "deflated": share(int(str(document["deflated_by_their_own_variance"])), n),
        "ledger_counted": document["ledger_counted"],
        "verdict_told": document["verdict_told"],
    }


def _losers(document: Mapping[str, object] | None) -> Figures | None:
    if document is None:
        return None
    n = int(str(document["draws"]))
    figures: Figures = {"sharpe": document["sharpe"], "years": document["years"]}
    for name in ("without", "with"):
        counts = document[f"{name}_losers"]
        assert isinstance(counts, dict)
        figures[name] = share(counts["candidates"], n)
        figures[f"{name}_dsr"] = share(counts["dsr"], n)
    return figures


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None
