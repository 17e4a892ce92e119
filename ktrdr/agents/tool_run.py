"""Run one tool for a language model: never for long, and never with an exception's words in its answer."""

import asyncio
import logging
from collections.abc import Mapping

from ktrdr.agents.executor import ToolExecutor
from ktrdr.agents.save_permit import SavePermit
from ktrdr.agents.tools import ERROR_PREFIX
from ktrdr.errors import WorkspaceUnusable

_logger = logging.getLogger(__name__)


async def run_tool(tools: ToolExecutor, name: str, arguments: Mapping[str, object], *, limit_s: float) -> str:
    """Return the tool's text. A tool that takes too long goes on in its thread, but can save nothing any more.

    Raises:
        WorkspaceUnusable: The folder or its disk fails; no other call would do better.
    """
    permit = SavePermit()
    try:
        async with asyncio.timeout(limit_s):
            return await asyncio.to_thread(tools.execute, name, arguments, permit)
    except TimeoutError:
        await asyncio.to_thread(permit.withdraw)
        if tools.has_saved:  # at the last moment: saving again says so
            return await asyncio.to_thread(tools.execute, name, arguments)
        _logger.warning("the tool %s took more than %g s", name[:80], limit_s)
        return f"{ERROR_PREFIX}{name[:80]} took more than {limit_s:g} s and was given up; go on without it"
    except WorkspaceUnusable:
        raise
    except Exception as error:  # the tool executor's outermost frame: words of a foreign error may hold secrets
        _logger.exception("the tool %s broke", name[:80])
        return f"{ERROR_PREFIX}{name[:80]} broke ({type(error).__name__}); that is not your mistake, go on without it"
    finally:
        permit.withdraw()  # also when this run is cancelled while the tool goes on
