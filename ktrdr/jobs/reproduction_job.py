"""Do a strategy's training and backtest again, in a workspace of its own, and compare every file with the stored one.

The seed and the snapshots are the recorded ones, and so is what the verdict took from the trial ledger: its history,
and the selection among the trials of that time, which the ledger of today cannot tell any more.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, JsonValue, TypeAdapter, ValidationError

from ktrdr.artifacts.files import write_bytes_atomically, write_json_atomically
from ktrdr.backtest.report import BacktestReport, TrialHistory, read_backtest_report
from ktrdr.config import Device, Settings, load_settings
from ktrdr.jobs.backtest_job import BacktestJobRequest, backtest_in
from ktrdr.jobs.files import BACKTEST_FILES, MACHINE_FILE, TRAINING_FILES
from ktrdr.jobs.same_strategy import require_same_strategy
from ktrdr.jobs.stores import open_job_stores
from ktrdr.jobs.training_job import TrainingJobRequest, train_in
from ktrdr.networks.runtime import AUTO, CPU
from ktrdr.operations.job_child import Report
from ktrdr.strategy.store import STRATEGY_FILE
from ktrdr.telemetry.stopwatch import Stopwatch
from ktrdr.training.report import read_training_report

_TRIAL = "reproduction"  # names what is of a trial in the workspace that goes away
_MOST_NAMED = 20  # places of a JSON file that differ
_TRAINING_SHARE = 0.8  # of the progress


class ReproductionJobRequest(BaseModel):
    """What the worker asks of a reproduction process."""

    strategy: str
    attempt: str


def reproduce(document: dict[str, JsonValue], report: Report, stopwatch: Stopwatch) -> JsonValue:
    """Train and backtest again; return per file whether it is the same, and where it is not.

    Networks are fitted on the device they were fitted on before, where the setting is `auto` and the machine has it.
    `machine_differs` says what else than the machine of then this one is: figures may then differ in their last digits.

    Raises:
        OperationFailed: The strategy was changed since (`strategy_changed`), or what it rests on is gone.
    """
    request = ReproductionJobRequest.model_validate(document)
    settings = load_settings()
    stores = open_job_stores(settings)
    strategies = stores.strategies
    stored, specification = strategies.folder(request.strategy), strategies.read(request.strategy)
    training = read_training_report(stored / TRAINING_FILES[-1])
    require_same_strategy(specification, training.strategy_sha256)
    for symbol in specification.market.symbols:
        stores.bars.load_research(symbol, specification.timeframe, snapshot=training.snapshot_of(symbol))
    machine = _read_machine(stored / MACHINE_FILE)
    device = _device_of_then(settings.device, machine)
    elsewhere = replace(settings, workspace=Path(request.attempt), artifacts=None, device=device)
    elsewhere.data_folder.symlink_to(settings.data_folder)
    again = elsewhere.strategies_folder / request.strategy
    write_bytes_atomically(again / STRATEGY_FILE, strategies.text(request.strategy).encode())
    train_in(
        elsewhere,
        TrainingJobRequest(
            strategy=request.strategy,
            strategy_sha256=training.strategy_sha256,
            snapshot=training.snapshot,
            snapshots=training.snapshots,
            seed=training.seed,
            operation_id=_TRIAL,
            attempt=str(again),
        ),
        lambda percentage, words: report(percentage * _TRAINING_SHARE, words),
        stopwatch,
    )
    files = [name for name in TRAINING_FILES if name != MACHINE_FILE]
    if (stored / BACKTEST_FILES[-1]).exists():
        _backtest_again(
            elsewhere, request.strategy, read_backtest_report(stored / BACKTEST_FILES[-1]), again, stopwatch
        )
        files += BACKTEST_FILES
    report(100.0, "comparing")
    compared = [_compare(stored / name, again / name) for name in files]
    return {
        "strategy_name": request.strategy,
        "identical": all(each["identical"] for each in compared),
        "files": list[JsonValue](compared),
        "machine_differs": list[JsonValue](_machine_differences(machine, _read_machine(again / MACHINE_FILE))),
    }


def _read_machine(path: Path) -> dict[str, str]:
    """Return what a training's figures rest on; empty where it was not recorded, or cannot be read any more."""
    try:
        return TypeAdapter(dict[str, str]).validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return {}


def _device_of_then(asked: Device, machine: dict[str, str]) -> Device:
    """Return the device to ask for: the CPU is everywhere, so what was computed on it needs no GPU of now."""
    return CPU if asked == AUTO and machine.get("device", CPU) == CPU else asked


def _machine_differences(then: dict[str, str], now: dict[str, str]) -> list[str]:
    """Return a line for each thing that differs, as `device: cuda then, cpu now`."""
    if not then:
        return []
    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    return [f"{name}: {then.get(name, 'none')} then, {now.get(name, 'none')} now" for name in names]


def _backtest_again(
    elsewhere: Settings, strategy: str, known: BacktestReport, folder: Path, stopwatch: Stopwatch
) -> None:
    history = TrialHistory(n_trials=1) if known.verdict is None else known.verdict.history
    request = BacktestJobRequest(
        strategy=strategy, trial_id=_TRIAL, attempt=str(folder), history=history, other_returns=[]
    )
    backtest_in(elsewhere, request, lambda _percentage, _words: None, stopwatch)
    path = folder / BACKTEST_FILES[-1]
    report = read_backtest_report(path)
    verdict = report.verdict
    if known.verdict is None:
        verdict = None
    elif verdict is not None:
        verdict = verdict.model_copy(update={"selection": known.verdict.selection})
    write_json_atomically(path, report.model_copy(update={"verdict": verdict}).model_dump(mode="json"))


def _compare(stored: Path, again: Path) -> dict[str, JsonValue]:
    one = stored.read_bytes() if stored.exists() else b""
    other = again.read_bytes()
    places: list[str] = []
    if one != other and stored.suffix == ".json" and one:
        places = [*_differing_places(json.loads(one), json.loads(other))][:_MOST_NAMED]
    return {"file": stored.name, "identical": one == other, "differs_at": list[JsonValue](places)}


def _differing_places(one: JsonValue, other: JsonValue, place: str = "") -> Iterator[str]:
    """Yield where two documents differ, as `folds.0.accuracy`."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            if key in one and key in other:
                yield from _differing_places(one[key], other[key], f"{place}.{key}".lstrip("."))
            else:
                yield f"{place}.{key}".lstrip(".")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from _differing_places(left, right, f"{place}.{number}".lstrip("."))
    elif one != other:
        yield place or "document"
