"""Kill the worker at every third point there is, three times a cycle, and at random times. Minutes: `make chaos`."""

import random
import shutil
import sys
from pathlib import Path

import pytest
from fakes.anthropic_server import AnthropicServer

from ktrdr.market.samples import install_samples
from ktrdr.market.store import BarStore

sys.path.insert(0, str(Path(__file__).parent.parent / "journeys"))
from kill_points import DisturbedCycle
from test_llm_cycle_journey import claude

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3600)]
STRIDE, N_RANDOM, DEATHS = 3, 10, 3


def begin(base, name):
    server = AnthropicServer(script=claude)
    folder = base / name
    shutil.copytree(base / "data", folder / "data")
    environment = {"ANTHROPIC_API_KEY": "sk-ant-test", "ANTHROPIC_BASE_URL": server.url}
    environment |= {"KTRDR_CHECKPOINT_INTERVAL_S": "0.1", "KTRDR_AGENT_PHASE_BACKOFF_S": "0.1"}
    cycle = DisturbedCycle(folder, environment)
    cycle.trigger(seed=5)
    return cycle, server


def test_wherever_workers_die_a_cycle_leaves_what_an_undisturbed_one_does(tmp_path):
    install_samples(BarStore(tmp_path / "data"))
    cycle, server = begin(tmp_path, "undisturbed")
    assert cycle.run_until_end() == "completed"
    points, expected = cycle.points(), cycle.outcome()
    third = len(points) // DEATHS
    plans = [[points[first + part * third] for part in range(DEATHS)] for first in range(0, third, STRIDE)]
    seed = random.randrange(2**32)
    generator = random.Random(seed)
    plans += [[round(generator.uniform(0.1, 9.0), 2) for _ in range(DEATHS)] for _ in range(N_RANDOM)]
    found = {}
    for number, plan in enumerate(plans):
        cycle, server = begin(tmp_path, str(number))
        cycle.run_until_end(plan, timeout_s=300)
        faults = cycle.faults(expected, server.received)
        if faults:
            found[str(plan)] = faults
        cycle.close()
        server.close()
    assert found == {}, f"random times from the seed {seed}"
