"""What a cycle leaves beside its strategy, refused ones too: how it ended, and the page."""

import logging

from ktrdr.agents.records import CycleRecord
from ktrdr.errors import KtrdrError, StrategyInvalid
from ktrdr.jobs.files import CYCLE_FILE
from ktrdr.jobs.services import LaboratoryServices
from ktrdr.report.page import report_page

_logger = logging.getLogger(__name__)


def keep_report(services: LaboratoryServices, strategy: str) -> None:
    """Make report.html of what is stored about a strategy."""
    try:
        services.strategies.write_report(strategy, report_page(services.strategies, services.bars, strategy))
    except StrategyInvalid:
        # A file was changed by hand meanwhile. What is stored stands, and the page is made again whenever asked for.
        _logger.warning("no report could be made of %s", strategy, exc_info=True)


def keep_story(services: LaboratoryServices, strategy: str, story: CycleRecord) -> None:
    """Write cycle.json and the page. Neither failing, nor a folder that is gone, changes how the cycle ends."""
    if not services.strategies.exists(strategy):
        return
    try:
        services.strategies.write_json(strategy, CYCLE_FILE, story.model_dump(mode="json"))
        keep_report(services, strategy)
    except (KtrdrError, OSError):
        _logger.warning("how its cycle ended could not be kept beside %s", strategy, exc_info=True)
