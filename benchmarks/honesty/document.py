"""Make docs/honesty.md and its plots from results.json: `python -m benchmarks.honesty.document`."""

import json
from pathlib import Path

import matplotlib as mpl
import numpy as np
from jinja2 import Environment, StrictUndefined

from benchmarks.honesty.power import SHARPES, TRIALS, WHOLE_MACHINE, YEARS, best_power, critical_value

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "ktrdr", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
from matplotlib import pyplot as plt  # noqa: E402  (after the backend)

_TEMPLATE = Path(__file__).with_name("honesty.md.j2")


def write_document(results: dict[str, object], docs: Path) -> None:
    """Write honesty.md into `docs` and the plots into its folder honesty; equal results give equal bytes."""
    folder = docs / "honesty"
    folder.mkdir(parents=True, exist_ok=True)
    _plot_power(results, folder / "power.svg")
    _plot_searches(results, folder / "searches.svg")
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    )
    environment.filters.update(percent=_percent, interval=_interval, counted=_counted)
    text = environment.from_string(_TEMPLATE.read_text()).render(
        r=results, sharpes=SHARPES, years=YEARS, trials=TRIALS, machine_cells=WHOLE_MACHINE, cell=_cell(results)
    )
    (docs / "honesty.md").write_text(text)


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %" if value >= 0.1 or value == 0 else f"{100 * value:.1f} %"


def _interval(figures: dict[str, list[float]]) -> str:
    low, high = figures["ci95"]
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def _counted(figures: dict[str, object]) -> str:
    """Return "3 of 510: 0.6 % (0.1 to 1.7 %)"."""
    return f"{figures['count']} of {figures['n']}: {100 * float(str(figures['share'])):.1f} % ({_interval(figures)})"  # type: ignore[arg-type]


def _cell(results: dict[str, object]):  # noqa: ANN202  (a function for the template)
    cells = results["power"]
    assert isinstance(cells, list)
    found = {(each["sharpe"], each["years"], each["n_trials"]): each for each in cells}
    return lambda sharpe, years, n_trials: found.get((sharpe, years, n_trials))


def _plot_power(results: dict[str, object], path: Path) -> None:
    cells = results["power"]
    assert isinstance(cells, list)
    figure, axes = plt.subplots(1, len(TRIALS), figsize=(9.6, 3.2), sharey=True)
    colours = plt.get_cmap("viridis")(np.linspace(0.1, 0.8, len(YEARS)))
    grid = np.linspace(0, 3, 61)
    for axis, n_trials in zip(axes, TRIALS, strict=True):
        for years, colour in zip(YEARS, colours, strict=True):
            bound = [best_power(sharpe, years, critical_value(n_trials)) for sharpe in grid]
            axis.plot(grid, bound, color=colour, linewidth=1, linestyle="--")
            mine = sorted(
                (each for each in cells if (each["years"], each["n_trials"]) == (years, n_trials)),
                key=lambda each: each["sharpe"],
            )
            if mine:
                shares = np.array([each["candidate"]["share"] for each in mine])
                low, high = np.array([each["candidate"]["ci95"] for each in mine]).T
                axis.errorbar(
                    [each["sharpe"] for each in mine],
                    shares,
                    yerr=[np.maximum(shares - low, 0), np.maximum(high - shares, 0)],
                    color=colour,
                    fmt="o",
                    markersize=3,
                    linewidth=1,
                    label=f"{years} years",
                )
        axis.set_title(f"{n_trials} trial{'s' if n_trials > 1 else ''}", fontsize=9)
        axis.set_xlabel("true annual Sharpe ratio")
    axes[0].set_ylabel("share called candidate")
    axes[0].legend(frameon=False, fontsize=7, loc="lower right")
    _save(figure, path)


def _plot_searches(results: dict[str, object], path: Path) -> None:
    kinds = results["by_kind"]
    assert isinstance(kinds, dict)
    rows = [("naively_found", "best trial believed, none counted"), ("candidate", "candidate"), ("proven", "proven")]
    figure, axis = plt.subplots(figsize=(7.2, 2.8))
    for offset, (name, label) in enumerate(rows):
        places = np.arange(len(kinds)) + (1 - offset) * 0.25
        shares = np.array([kinds[kind][name]["share"] for kind in kinds])
        low, high = np.array([kinds[kind][name]["ci95"] for kind in kinds]).reshape(-1, 2).T
        colour = ("#bbbbbb", "#3b7ea1", "#b03030")[offset]
        axis.barh(places, 100 * shares, height=0.22, color=colour, label=label)
        axis.errorbar(
            100 * shares, places, xerr=[100 * (shares - low), 100 * (high - shares)], fmt="none", color="black", lw=0.8
        )
    axis.set_yticks(range(len(kinds)), list(kinds))
    axis.set_xlabel("% of searches")
    axis.axvline(1, color="#b03030", linewidth=0.6, linestyle=":")
    axis.legend(frameon=False, fontsize=7, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    _save(figure, path)


def _save(figure: "plt.Figure", path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    _docs = Path(__file__).parents[2] / "docs"
    write_document(json.loads((_docs / "honesty" / "results.json").read_text()), _docs)
