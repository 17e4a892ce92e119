"""One round: cycles are triggered, faults come at random moments, all is mended, and what it came to is judged.

A round follows from its seed, except for what the machine's load makes of it. The log says what was done when.
"""

import heapq
import itertools
import os
import random
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field

from besieged import GRACE_S, BesiegedLaboratory, processes_of
from evidence import Evidence
from fickle_provider import BRIEF, FickleProvider
from invariants import no_process_is_left, violations

ANYWHERE = {
    "kill_worker": 4,
    "stop_worker": 2,
    "pause_worker": 2,
    "kill_api": 2,
    "kill_job": 3,
    "cancel_cycle": 4,
    "revive_cycle": 1,
    "corrupt_state": 2,
}
ON_POSTGRES = {"crash_database": 2, "cut_connections": 3}
ON_ITS_OWN_DISK = {"fill_disk": 1}
TICK_S = 0.03
MEND_PATIENCE_S, TIDY_PATIENCE_S = 90.0, 12.0


@dataclass(frozen=True, order=True)
class Fault:
    """What happens when; `lot` (0..1) decides to whom, and how long."""

    at_s: float
    kind: str
    lot: float


def random_plan(seed, *, n_faults, duration_s, is_postgres, has_own_disk=False):
    """Return the faults of a round, the first one after a second."""
    chance = random.Random(seed)
    weights = {**ANYWHERE, **(ON_POSTGRES if is_postgres else {}), **(ON_ITS_OWN_DISK if has_own_disk else {})}
    kinds = chance.choices([*weights], [*weights.values()], k=n_faults)
    return sorted(Fault(round(chance.uniform(0.5, duration_s), 2), kind, chance.random()) for kind in kinds)


@dataclass
class RoundReport:
    """What a round came to."""

    seconds: float
    found: list[str]
    log: list[str]
    statuses: list[str]
    counts: dict[str, int] = field(default_factory=dict)


class Siege:
    """Drives a laboratory through a plan. `triggers`: seconds at which a cycle is begun."""

    def __init__(self, laboratory: BesiegedLaboratory, provider: FickleProvider, plan, triggers):
        self._laboratory = laboratory
        self._provider = provider
        self._order = itertools.count()
        self._agenda = []
        for fault in plan:
            self._at(fault.at_s, lambda fault=fault: self._commit(fault))
        for number, at_s in enumerate(triggers, start=1):
            self._at(at_s, lambda number=number: self.trigger(number))
        self._began = time.monotonic()
        self._away = set()  # places whose workers are paused, or not to be replaced yet; "api"
        self.log = []
        self.counts = {}
        self.disturbances = self.worker_deaths = 0
        self._n_cycles = len(triggers)

    def run(self):
        """Carry the plan out, mend everything, and wait until all has come to rest. Returns what did not."""
        while self._agenda:
            self._tick()
        self._provider.is_fickle = False
        self._say("the siege is over")
        evidence = self.evidence()
        try:
            return self._wait_for_rest(evidence)
        finally:
            evidence.close()

    def kill_until_rest(self, chance, *, every_s, patience_s):
        """Trigger everything and kill a worker every few seconds until all cycles have ended. Returns what is wrong."""

        def kill():
            self._kill_worker(chance.random())
            self._in(chance.uniform(0.7, 1.3) * every_s, kill)

        self._in(every_s, kill)
        deadline = time.monotonic() + patience_s
        evidence = self.evidence()
        try:
            while len(cycles := evidence.cycles()) < self._n_cycles or any(
                not cycle.status.is_terminal for cycle in cycles
            ):
                if time.monotonic() > deadline:
                    return [f"no rest within {patience_s:g} s"]
                self._tick()
                time.sleep(0.3)
            self._agenda.clear()
            self._away.clear()
            return self._wait_for_rest(evidence)
        finally:
            evidence.close()

    def evidence(self):
        """Return what the laboratory has come to so far."""
        return Evidence(
            self._laboratory.environment,
            received=self._provider.server.received,
            epoch_offset_s=self._provider.epoch_offset_s,
            disturbances=self.disturbances,
            worker_deaths=self.worker_deaths,
        )

    def trigger(self, number):
        """Begin a cycle; where the server is away, or full, try again a little later."""
        answer = self._laboratory.ask(
            "POST", "/agent/trigger", {"brief": BRIEF.format(number=number), "seed": number, "bypass_gates": True}
        )
        code = None if answer is None else answer.status_code
        self._say(f"cycle {number} is triggered: {code}")
        if code != 202:
            self._in(0.5, lambda: self.trigger(number))

    def _wait_for_rest(self, evidence):
        deadline = time.monotonic() + MEND_PATIENCE_S
        while any(not cycle.status.is_terminal for cycle in evidence.cycles()):
            if time.monotonic() > deadline:
                return [f"no rest within {MEND_PATIENCE_S:g} s"]
            self._tick()
            time.sleep(0.1)
        self._say("all cycles have ended")
        deadline = time.monotonic() + 2.0
        while jobs := processes_of(self._laboratory.folder, "ktrdr.jobs."):
            if time.monotonic() > deadline:
                return [f"jobs outlive their cycles: {jobs}"]
            time.sleep(0.05)
        deadline = time.monotonic() + TIDY_PATIENCE_S
        while not evidence.is_tidy() and time.monotonic() < deadline:
            self._tick()
            time.sleep(0.1)
        return []

    def _tick(self):
        now = time.monotonic() - self._began
        while self._agenda and self._agenda[0][0] <= now:
            heapq.heappop(self._agenda)[2]()
        self._replace_the_dead()
        time.sleep(TICK_S)

    def _replace_the_dead(self):
        laboratory = self._laboratory
        for place, worker in enumerate(laboratory.workers):
            if place not in self._away and worker.poll() is not None:
                self._say(f"worker {place} ended with {worker.returncode} and is replaced")
                laboratory.start_worker(place)
        if "api" not in self._away and laboratory.api.poll() is not None:
            self._say(f"the server ended with {laboratory.api.returncode} and is replaced")
            laboratory.start_api()

    def _commit(self, fault):
        self.counts[fault.kind] = self.counts.get(fault.kind, 0) + 1
        getattr(self, f"_{fault.kind}")(fault.lot)

    def _kill_worker(self, lot):
        place = self._lot_of_worker(lot)
        self._laboratory.workers[place].kill()
        self._worker_goes(place, f"worker {place} is killed", lot)
        self.worker_deaths += 1

    def _stop_worker(self, lot):
        place = self._lot_of_worker(lot)
        self._laboratory.workers[place].terminate()
        self._worker_goes(place, f"worker {place} is stopped in order", lot)

    def _worker_goes(self, place, words, lot):
        self._disturb(words)
        self._away.add(place)
        self._in(0.2 + lot, lambda: self._away.discard(place))

    def _pause_worker(self, lot):
        place = self._lot_of_worker(lot)
        worker = self._laboratory.workers[place]
        if place in self._away or worker.poll() is not None:
            return
        pause_s = GRACE_S + 0.5 + 1.5 * lot
        self._disturb(f"worker {place} is paused for {pause_s:.1f} s")
        self.worker_deaths += 1
        self._away.add(place)
        worker.send_signal(signal.SIGSTOP)

        def wake():
            self._say(f"worker {place} is woken")
            worker.send_signal(signal.SIGCONT)
            self._away.discard(place)

        self._in(pause_s, wake)

    def _kill_api(self, lot):
        self._say("the server is killed")
        self._laboratory.api.kill()
        self._away.add("api")
        self._in(lot, lambda: self._away.discard("api"))

    def _kill_job(self, lot, patience=40):
        jobs = sorted(processes_of(self._laboratory.folder, "ktrdr.jobs."))
        if jobs:
            with suppress(ProcessLookupError):
                os.kill(jobs[int(lot * len(jobs))], signal.SIGKILL)
            self._disturb("a job is killed")
        elif patience:
            self._in(0.1, lambda: self._kill_job(lot, patience - 1))

    def _cancel_cycle(self, lot):
        found = self._cycles("pending", "running")
        if found:
            cycle_id = found[int(lot * len(found))]
            self._disturb(f"{cycle_id} is cancelled: {self._code(f'/operations/{cycle_id}/cancel')}")
            if lot < 0.7:
                self._in(3 * lot, lambda: self._revive_cycle(lot))

    def _revive_cycle(self, lot):
        for status, verb in (("cancelled", "resume"), ("failed", "retry")):
            for cycle_id in self._cycles(status):
                self._say(f"{verb} of {cycle_id}: {self._code(f'/operations/{cycle_id}/{verb}')}")

    def _corrupt_state(self, lot):
        state = self._laboratory.folder / ".ktrdr"
        files = [state / "server.json", *state.glob("workers/*.lock"), *state.glob("checkpoints/*/*.safetensors")]
        files = sorted(path for path in files if path.exists())
        if files:
            path = files[int(lot * len(files))]
            with suppress(OSError), path.open("r+b") as file:
                file.truncate(path.stat().st_size // 2)
                file.write(b"\0\xff{chaos")
            self._disturb(f"{path.relative_to(state)} is corrupted")

    def _crash_database(self, lot):
        self._disturb("the database crashes")
        self.disturbances += len(self._laboratory.workers)
        self._laboratory.postgres.crash()
        time.sleep(0.3 + 2.5 * lot)
        self._laboratory.postgres.start()
        self._say("the database is back")

    def _cut_connections(self, lot):
        self._disturb("half of the connections are cut")
        self.disturbances += len(self._laboratory.workers)
        self._laboratory.postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND "
            f"datname = '{self._laboratory.database_name}' AND random() < {0.3 + lot / 2}"
        )

    def _fill_disk(self, lot):
        self._disturb("the disk is full")
        self.disturbances += len(self._laboratory.workers)
        self._laboratory.fill_disk()

        def make_room():
            self._laboratory.empty_disk()
            self._say("the disk has room")

        self._in(0.5 + 2 * lot, make_room)

    def _cycles(self, *statuses):
        found = []
        for status in statuses:
            answer = self._laboratory.ask("GET", f"/operations?type=agent_research&status={status}&limit=200")
            if answer is not None and answer.status_code == 200:
                found += [operation["operation_id"] for operation in answer.json()["operations"]]
        return sorted(found)

    def _code(self, path):
        answer = self._laboratory.ask("POST", path)
        if answer is None:
            return "no answer"
        return answer.status_code if answer.status_code < 300 else f"{answer.status_code} {answer.json()['reason']}"

    def _lot_of_worker(self, lot):
        return int(lot * len(self._laboratory.workers))

    def _disturb(self, words):
        self.disturbances += 1
        self._say(words)

    def _say(self, words):
        self.log.append(f"{time.monotonic() - self._began:6.2f} s  {words}")

    def _in(self, seconds, action):
        self._at(time.monotonic() - self._began + seconds, action)

    def _at(self, at_s, action):
        heapq.heappush(self._agenda, (at_s, next(self._order), action))


def besiege(laboratory, provider, plan, triggers, *, begin=lambda: None):
    """Open a laboratory, carry a plan out and judge what it came to. Returns the report and the evidence, open.

    `begin` is called as soon as it is open.
    """
    began = time.monotonic()
    laboratory.open()
    begin()
    siege = Siege(laboratory, provider, plan, triggers)
    found = siege.run()
    found += laboratory.stop()
    found += [f"broken answer: {words}" for words in laboratory.broken_answers]
    evidence = siege.evidence()
    deadline = time.monotonic() + 2.0
    while no_process_is_left(evidence) and time.monotonic() < deadline:
        time.sleep(0.05)
    found += violations(evidence)
    statuses = [cycle.error.reason if cycle.error else cycle.status.value for cycle in reversed(evidence.cycles())]
    if len(statuses) < len(triggers):
        found.append(f"{len(triggers)} cycles were triggered, {len(statuses)} exist")
    report = RoundReport(time.monotonic() - began, found, siege.log, statuses, siege.counts)
    return report, evidence
