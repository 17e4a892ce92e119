"""Random rounds, half of them on PostgreSQL: `make chaos`. Each follows from its own seed, which is printed."""

import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from besieged import BesiegedLaboratory
from fickle_provider import FickleProvider
from siege import besiege, random_plan

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]
FIRST_SEED = int(os.environ.get("KTRDR_CHAOS_SEED") or random.SystemRandom().randrange(10**6))
N_ROUNDS = int(os.environ.get("KTRDR_CHAOS_ROUNDS") or 50)
N_WORKERS, TRIGGERS_S, N_FAULTS, SIEGE_S = 3, (0.0, 0.5), 9, 10.0


@pytest.mark.parametrize("number", range(N_ROUNDS))
def test_a_besieged_laboratory_keeps_its_invariants(number, stored_samples, request, capfd):
    seed = FIRST_SEED + number
    is_postgres = seed % 2 == 1
    if is_postgres:
        server, template = (request.getfixturevalue(name) for name in ("postgres_server", "migrated_template"))
    else:
        server = template = None
    folder = Path(tempfile.mkdtemp(prefix=f"ktrdr-chaos-{seed}-"))
    provider = FickleProvider(seed)
    keep = False
    try:
        with BesiegedLaboratory(
            folder, provider.server.url, n_workers=N_WORKERS, postgres=server, template=template
        ) as laboratory:
            shutil.copytree(stored_samples, laboratory.folder / "data")
            plan = random_plan(
                seed,
                n_faults=N_FAULTS,
                duration_s=SIEGE_S,
                is_postgres=is_postgres,
                has_own_disk=laboratory.has_own_disk,
            )
            try:
                report, evidence = besiege(laboratory, provider, plan, TRIGGERS_S)
                evidence.close()
                keep = bool(report.found)
            except BaseException:
                keep = True
                raise
            finally:
                if keep:
                    laboratory.keep(folder / "kept")
        kind = "PostgreSQL" if is_postgres else "SQLite"
        log = "\n  ".join(report.log)
        with capfd.disabled():  # seen while other rounds are still to come
            sys.stderr.write(f"\nseed {seed}, {kind}: {report.seconds:.1f} s, {report.counts}; {report.statuses}\n")
        again = f"KTRDR_CHAOS_SEED={seed} KTRDR_CHAOS_ROUNDS=1 make chaos"
        assert not report.found, f"{report.found}\n  {log}\nagain: {again}\nworkspace: {folder / 'kept'}"
    finally:
        provider.close()
        if not keep:
            shutil.rmtree(folder)
