"""What must hold of a laboratory at rest, whatever was done to it. Each returns what does not, in words."""

import json
from collections import Counter
from datetime import datetime

import polars as pl
from besieged import processes_of
from fickle_provider import cycle_number
from safetensors import safe_open
from test_llm_cycle_journey import is_assessor

from ktrdr.jobs.files import ASSESSMENT_FILES, BACKTEST_FILES, CYCLE_FILE, TRAINING_FILES
from ktrdr.operations.operation import OperationStatus
from ktrdr.operations.runtime import MAX_TAKEOVERS
from ktrdr.telemetry.log_files import read_log

JOBS = {"training": "training", "backtesting": "backtest"}
_PHASES = ("agent_design", "training", "backtesting", "agent_assessment")
_NANO = 1e9
# What a step's clock and the provider's may differ by.
_CLOCK_S = 0.05
_FILES = {"strategy.yaml", "design.json", *TRAINING_FILES, *BACKTEST_FILES, *ASSESSMENT_FILES, CYCLE_FILE}


def every_cycle_has_ended(evidence):
    """Every operation is in a terminal state, and failures have a reason that somebody foresaw."""
    found = []
    for kind in ("agent_research", *_PHASES):
        for operation in evidence.operations(kind):
            reason = operation.error.reason if operation.error else ""
            if not operation.status.is_terminal:
                found.append(f"{operation.operation_id} is {operation.status.value}: {operation.progress}")
            if "internal_error" in reason or "bad_result" in reason or "metric_missing" in reason:
                found.append(f"{operation.operation_id} failed with {reason}: {operation.error.message}")
            if reason.endswith("worker_lost") and evidence.worker_deaths <= MAX_TAKEOVERS:
                found.append(f"{operation.operation_id} was given up after {evidence.worker_deaths} deaths of workers")
    return found


def no_process_is_left(evidence):
    """Nothing of the workspace runs any more."""
    return [f"process {pid} is left: {command}" for pid, command in processes_of(evidence.folder).items()]


def no_phase_ran_twice(evidence):
    """A cycle has each phase once; no job began, and no question was asked, after its answer was recorded."""
    found = []
    for cycle in evidence.cycles():
        kinds = Counter(child.type for child in evidence.store.children(cycle.operation_id))
        found += [f"{cycle.operation_id} has {n} phases {kind}" for kind, n in kinds.items() if n > 1]
    return found + _jobs_after_their_answer(evidence) + _questions_after_their_answer(evidence)


def the_bill_is_the_ledger(evidence):
    """Each call was reserved, what is known of it was charged as billed, what is not was charged in full."""
    charges, received = evidence.charges(), evidence.received
    found = []
    if not len(received) <= len(charges) <= len(received) + evidence.disturbances:
        found.append(f"{len(charges)} reservations for {len(received)} calls, {evidence.disturbances} disturbances")
    billed = sorted(round(each.billed_usd * _NANO) for each in received if each.billed_usd)
    for amount in sorted(each.settled for each in charges if each.settled):
        match = next((bill for bill in billed if abs(bill - amount) <= 2), None)
        if match is None:
            found.append(f"a call was settled with {amount} nano-dollars, which nobody billed")
        else:
            billed.remove(match)
    open_reservations = [each.reserved for each in charges if each.settled is None]
    if len(billed) > len(open_reservations) or sum(billed) > sum(open_reservations):
        found.append(f"billed and charged nowhere: {billed} nano-dollars beside the reservations {open_reservations}")
    found += [f"the envelope of {cycle} is open" for cycle in evidence.budget.open_cycles()]
    for cycle in evidence.cycles():
        total = evidence.budget.cycle_totals(cycle.operation_id)[1]
        if abs(total - cycle.metadata["cost_usd"]) > 1e-9:
            found.append(f"{cycle.operation_id} shows {cycle.metadata['cost_usd']} dollars, the ledger has {total}")
    return found


def strategies_are_whole(evidence):
    """Every strategy's files are complete or absent, and readable; a completed cycle has all of them."""
    found = []
    completed = {
        str(cycle.metadata["strategy_name"]) for cycle in evidence.cycles() if cycle.status is OperationStatus.COMPLETED
    }
    folders = {path.name: path for path in evidence.settings.strategies_folder.glob("*")}
    found += [f"the strategy {name} of a completed cycle is missing" for name in completed - folders.keys()]
    for name, folder in folders.items():
        present = {path.name for path in folder.iterdir()}
        required = {"strategy.yaml", "design.json"}
        for group in (TRAINING_FILES, BACKTEST_FILES, ASSESSMENT_FILES):
            if group[-1] in present or name in completed:
                required |= set(group)
        found += [f"{name}/{file} is missing" for file in sorted(required - present)]
        found += [f"{name}/{file} does not belong there" for file in sorted(present - _FILES)]
        found += [fault for file in sorted(present & _FILES) for fault in _unreadable(folder / file)]
    found += [f"an attempt is left: {path.name}" for path in evidence.settings.attempts_folder.glob("op_*")]
    return found


def trials_are_counted(evidence):
    """The ledger's chain is whole, every trial has its outcome, and exactly the trainings that began are in it."""
    found = [f"the trial ledger: row {fault.sequence} {fault.what}" for fault in evidence.ledger.verify()]
    found += [f"the trial {trial} has no outcome" for trial in evidence.ledger.unclosed()]
    trainings = {operation.operation_id for operation in evidence.operations("training")}
    opened = {step.operation_id for step in evidence.steps([*trainings]) if step.name == "open_trial"} | {
        operation_id for operation_id, _ in _job_starts(evidence, "training")
    }
    counted = {trial for trial in trainings if evidence.ledger.configuration(trial) is not None}
    found += [f"the training {trial} began and is not counted" for trial in sorted(opened - counted)]
    if evidence.ledger.count() != len(counted):
        found.append(f"{evidence.ledger.count()} trials are counted, and {len(counted)} trainings")
    # A worker may die between the ledger's row and its own record of it, and the training be cancelled then.
    if len(counted - opened) > evidence.disturbances:
        found.append(f"counted and never begun: {sorted(counted - opened)}")
    return found


INVARIANTS = (
    every_cycle_has_ended,
    no_process_is_left,
    no_phase_ran_twice,
    the_bill_is_the_ledger,
    strategies_are_whole,
    trials_are_counted,
)


def violations(evidence):
    """Return all that does not hold."""
    return [f"{check.__name__}: {fault}" for check in INVARIANTS for fault in check(evidence)]


def _jobs_after_their_answer(evidence):
    found = []
    for kind, step_name in JOBS.items():
        ids = [operation.operation_id for operation in evidence.operations(kind)]
        answered = {
            step.operation_id: step.completed_at_ms / 1000
            for step in evidence.steps(ids)
            if step.name == step_name and step.failure is None
        }
        starts = _job_starts(evidence, kind)
        found += [
            f"the job of {operation_id} ran again {at - answered[operation_id]:.2f} s after its answer was recorded"
            for operation_id, at in starts
            if operation_id in answered and at > answered[operation_id] + _CLOCK_S
        ]
        runs = Counter(operation_id for operation_id, _ in starts)
        limit = 1 + evidence.disturbances
        found += [f"{operation_id} ran {n} times" for operation_id, n in runs.items() if n > limit]
    return found


def _job_starts(evidence, kind):
    """Return which operations' jobs were started, and when (seconds of the epoch), as the workers' logs say."""
    ids = {operation.operation_id for operation in evidence.operations(kind)}
    lines = read_log(evidence.settings.logs_folder, ids, limit=1_000_000).lines
    words = f"ktrdr.jobs.{JOBS[kind]} runs as process"
    return [
        (line.operation_id, datetime.fromisoformat(line.time).timestamp())
        for line in lines
        if line.message.startswith(words)
    ]


def _questions_after_their_answer(evidence):
    """A question is known by its cycle, who asks, and how many answers came before it."""
    answered = {}
    for cycle in evidence.cycles():
        number = int(str(cycle.metadata["brief"]).rpartition(" ")[2])
        for child in evidence.store.children(cycle.operation_id):
            if child.type not in ("agent_design", "agent_assessment"):
                continue
            calls = [
                step.completed_at_ms / 1000
                for step in evidence.steps([child.operation_id])
                if step.name == "llm_call" and step.failure is None and step.output.get("failure") is None
            ]
            answered |= {(number, child.type, place): at for place, at in enumerate(calls)}
    found = []
    for call in evidence.received:
        messages = call.document["messages"]
        role = "agent_assessment" if is_assessor(call.document) else "agent_design"
        place = sum(message["role"] == "assistant" for message in messages)
        key = (cycle_number(call.document), role, place)
        at = call.at + evidence.epoch_offset_s
        if key in answered and at > answered[key] + _CLOCK_S:
            found.append(f"{key} was asked again {at - answered[key]:.2f} s after its answer was recorded")
    return found


def _unreadable(path):
    try:
        if path.suffix == ".json":
            json.loads(path.read_bytes())
        elif path.suffix == ".parquet":
            pl.read_parquet(path)
        elif path.suffix == ".safetensors":
            with safe_open(path, framework="numpy"):
                pass
    except Exception as error:  # noqa: BLE001 - whatever makes a file unreadable
        return [f"{path.parent.name}/{path.name} cannot be read: {error}"]
    return []
