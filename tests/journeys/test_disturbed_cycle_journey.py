"""A cycle whose worker is killed, or which is cancelled and resumed, again and again; the long version is in chaos."""

import shutil

import pytest
from fakes.anthropic_server import AnthropicServer
from kill_points import DisturbedCycle
from test_llm_cycle_journey import claude

# One in each kind of place: an answer that is paid for and not yet known, half of the files in place, a verdict found.
DEATHS = ["agent_design/llm_call/done/1", "file/predictions.parquet/moved/1", "agent_research/backtest_gate/done/1"]


@pytest.fixture(scope="module")
def begin(tmp_path_factory, sampled_data):
    """Return a function that makes a workspace with a triggered cycle and the provider that it will speak to."""
    opened = []

    def begin_cycle():
        server = AnthropicServer(script=claude)
        folder = tmp_path_factory.mktemp("disturbed")
        shutil.copytree(sampled_data, folder / "data")
        environment = {"ANTHROPIC_API_KEY": "sk-ant-test", "ANTHROPIC_BASE_URL": server.url}
        environment |= {"KTRDR_CHECKPOINT_INTERVAL_S": "0.1", "KTRDR_AGENT_PHASE_BACKOFF_S": "0.1"}
        cycle = DisturbedCycle(folder, environment)
        cycle.trigger(seed=5)
        opened.append((cycle, server))
        return cycle, server

    yield begin_cycle
    for cycle, server in opened:
        cycle.close()
        server.close()


@pytest.fixture(scope="module")
def undisturbed(begin):
    cycle, _ = begin()
    assert cycle.run_until_end() == "completed"
    return cycle


def test_a_cycle_whose_worker_is_killed_at_the_worst_moments_leaves_what_an_undisturbed_one_does(begin, undisturbed):
    cycle, server = begin()
    assert cycle.run_until_end(DEATHS) == "completed"
    assert cycle.n_deaths == len(DEATHS)
    assert cycle.faults(undisturbed.outcome(), server.received) == []


def test_a_cycle_cancelled_and_resumed_in_every_phase_leaves_what_an_undisturbed_one_does(begin, undisturbed):
    cycle, server = begin()
    points = undisturbed.points()[5::17]
    cancelled = cycle.run_cancelled_at([*points, "training/training/begun/2"])
    assert len(cancelled) >= len(points) - 1
    assert any(each.had_job for each in cancelled)
    assert [each for each in cancelled if each.dead_s > 1.0] == []
    assert cycle.faults(undisturbed.outcome(), server.received) == []
