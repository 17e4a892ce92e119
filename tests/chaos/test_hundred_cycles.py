"""A hundred cycles on three workers, of which one is killed every few seconds: all end, none twice. `make chaos`."""

import os
import random
import shutil
import sys
import time

import pytest
from besieged import BesiegedLaboratory
from fickle_provider import FickleProvider
from invariants import violations
from siege import Siege

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600)]
N_CYCLES = int(os.environ.get("KTRDR_CHAOS_CYCLES") or 100)
DEATH_EVERY_S, PATIENCE_S = 6.0, 3000.0


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_all_end_and_none_twice(kind, tmp_path, stored_samples, request, capfd):
    server = template = None
    if kind == "postgresql":
        server, template = (request.getfixturevalue(name) for name in ("postgres_server", "migrated_template"))
    chance = random.Random(os.environ.get("KTRDR_CHAOS_SEED") or 5)
    provider = FickleProvider(seed=5, is_fickle=False)
    settings = {"KTRDR_AGENT_MAX_CONCURRENT_CYCLES": str(N_CYCLES)}
    try:
        with BesiegedLaboratory(
            tmp_path, provider.server.url, n_workers=3, postgres=server, template=template, **settings
        ) as laboratory:
            shutil.copytree(stored_samples, laboratory.folder / "data")
            laboratory.open()
            began = time.monotonic()
            siege = Siege(laboratory, provider, (), [0.0] * N_CYCLES)
            found = siege.kill_until_rest(chance, every_s=DEATH_EVERY_S, patience_s=PATIENCE_S)
            seconds = time.monotonic() - began
            found += laboratory.stop()
            evidence = siege.evidence()
            time.sleep(1.0)
            found += violations(evidence)
            cycles = evidence.cycles()
            ends = [cycle.error.reason if cycle.error else cycle.status.value for cycle in cycles]
            evidence.close()
    finally:
        provider.close()
    told = {end: ends.count(end) for end in sorted(set(ends))}
    with capfd.disabled():
        sys.stderr.write(
            f"\n{kind}: {len(cycles)} cycles in {seconds:.0f} s, {siege.worker_deaths} workers killed; {told}\n"
        )
    assert found == [], siege.log[-40:]
    assert len(cycles) == N_CYCLES
    assert len({cycle.metadata["brief"] for cycle in cycles}) == N_CYCLES
