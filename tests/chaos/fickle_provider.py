"""What the fake provider answers a besieged laboratory: designs, a repair, opinions; now and then a fault."""

import json
import random
import re
import threading
import time

from fakes.anthropic_server import Answer, AnthropicServer, Raw, Refusal, tool_use
from test_llm_cycle_journey import OPINION, is_assessor, strategy

# No two cycles design what would be a near-copy of the other's: those differ by less than 5 %.
_TIMEPERIODS = (5, 6, 7, 8, 10, 12, 14, 17, 20, 24, 28)
_HORIZONS = (3, 4, 5, 6, 7, 8, 10, 12, 14, 17)
BRIEF = "chaos {number}"
_FAULTS = (
    (0.05, Refusal(529, "overloaded_error")),
    (0.07, Refusal(500, is_billed=True)),
    (0.09, Raw(b'{"type": "message"', "application/json", cut=True)),
    (0.11, Refusal(429, "rate_limit_error", headers={"retry-after": "0.1"})),
)


class FickleProvider:
    """A provider whose faults come from a seed. `is_fickle` may be turned off; the number of faults is counted."""

    def __init__(self, seed, *, is_fickle=True):
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self.is_fickle = is_fickle
        self.n_faults = 0
        self.server = AnthropicServer(script=self._play)
        # Calls bear the monotonic time, steps that of day.
        self.epoch_offset_s = time.time() - time.monotonic()

    def close(self):
        self.server.close()

    def _play(self, request):
        with self._lock:
            fate, delay_s = self._chance.random(), self._chance.uniform(0.0, 0.4)
            if self.is_fickle:
                for below, fault in _FAULTS:
                    if fate < below:
                        self.n_faults += 1
                        return fault
        if is_assessor(request):
            answer = Answer([tool_use("save_assessment", OPINION)])
        else:
            number = cycle_number(request)
            is_told = "1 is below the minimum 2" in json.dumps(request["messages"][-1])
            document = strategy(f"chaos_{number}", _TIMEPERIODS[number % len(_TIMEPERIODS)] if is_told else 1)
            document["labels"]["horizon"] = _HORIZONS[number // len(_TIMEPERIODS)]
            answer = Answer([tool_use("save_strategy_config", {"strategy": document})])
        answer.delay_s = delay_s
        return answer


def cycle_number(request):
    """Return the number in the brief, or in the strategy's name, that a conversation began with."""
    return int(re.search(r"chaos[ _](\d+)", json.dumps(request["messages"][0])).group(1))
