import asyncio
import os
import signal
import subprocess
import sys

import pytest

from ktrdr.cli.session import run_action
from ktrdr.errors import KtrdrError


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_that_an_action_does_not_deal_with_is_an_error_with_a_reason(workspace, number):
    async def action(_connection):
        os.kill(os.getpid(), number)
        await asyncio.sleep(30)
        return 0

    with pytest.raises(KtrdrError) as caught:
        run_action(action)
    assert caught.value.reason == "interrupted"


def test_full_disk_behind_stdout_is_a_message_and_no_traceback(workspace):
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "ktrdr.cli", "agent", "status", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (ended.returncode, "No space left" in ended.stderr, "Traceback" in ended.stderr) == (1, True, False)
