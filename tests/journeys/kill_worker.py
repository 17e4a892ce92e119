"""The real worker, except that it kills itself at a named point. Workspace and settings come from the environment.

`KTRDR_TEST_KILL_TRACE` names a file to which every point that is passed adds a line, so that an undisturbed run tells
all there are. `KTRDR_TEST_KILL_AT` names the point to die at, as such a line does.
"""

import inspect
import os
import signal
from pathlib import Path

from ktrdr import worker
from ktrdr.operations.operation import OPERATION_ID_PATTERN
from ktrdr.operations.work import Work

TRACE = Path(os.environ["KTRDR_TEST_KILL_TRACE"])
KILL_AT = os.environ.get("KTRDR_TEST_KILL_AT", "")


def passing(place: str) -> None:
    """Note that a place is passed, for the n-th time in this workspace, and die if that is the point."""
    times = TRACE.read_text().splitlines() if TRACE.exists() else []
    point = f"{place}/{1 + sum(line.rpartition('/')[0] == place for line in times)}"
    with TRACE.open("a") as file:
        file.write(point + "\n")
    if point == KILL_AT:
        os.kill(os.getpid(), signal.SIGKILL)


def with_points(step):
    """Return the method of `Work` with points before, after and once the engine has recorded what a step did."""

    async def run(self, name, function):
        type_ = OPERATION_ID_PATTERN.fullmatch(self.operation_id)["type"]
        executed = False

        def begin():
            nonlocal executed
            executed = True
            passing(f"{type_}/{name}/begun")

        def wrapped():
            begin()
            result = function()
            passing(f"{type_}/{name}/done")
            return result

        async def wrapped_coroutine():
            begin()
            result = await function()
            passing(f"{type_}/{name}/done")
            return result

        result = await step(self, name, wrapped_coroutine if step is owned_step else wrapped)
        if executed:
            passing(f"{type_}/{name}/recorded")
        return result

    return run


def with_file_points(move):
    """Return `os.replace` or `os.rename` with a point after each file that comes into the strategies' folder."""
    assert inspect.isbuiltin(move)

    def run(source, target, **options):
        move(source, target, **options)
        if "strategies" in Path(target).parts:
            passing(f"file/{Path(target).name}/moved")

    return run


owned_step = Work.owned_step
Work.owned_step = with_points(Work.owned_step)
Work.step = with_points(Work.step)
os.replace, os.rename = with_file_points(os.replace), with_file_points(os.rename)

if __name__ == "__main__":
    worker.main()
