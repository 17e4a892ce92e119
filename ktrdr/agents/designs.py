"""Takes in the strategies that agents design: what is checked of each, and how it is stored with who made it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from ktrdr.agents.records import DESIGN_FILE, DesignRecord
from ktrdr.artifacts.attempt import discard_attempt, fresh_attempt
from ktrdr.artifacts.files import write_bytes_atomically, write_json_atomically
from ktrdr.errors import Conflict, StrategyInvalid
from ktrdr.indicators.catalogue import CATALOGUE
from ktrdr.jobs.leak_check import refuse_leaking_strategy
from ktrdr.market.store import BarStore
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.strategy.store import STRATEGY_FILE, StrategyStore
from ktrdr.strategy.validation import parse_strategy, to_yaml, validate_strategy

Design = Mapping[str, Any] | str


@dataclass(frozen=True, slots=True)
class DesignOrigin:
    """Who made a strategy. `prompt_version` and `operation_id` are None where no cycle of ours designed it."""

    model: str
    prompt_version: str | None
    operation_id: str | None
    parent_strategies: list[str]
    notes: str | None
    created_at: datetime


class DesignIntake:
    """Checks designs, documents or YAML texts, against the bars and strategies of a workspace, and stores them.

    Args:
        bars: Where markets are looked up.
        strategies: Where designs are stored.
        attempts_folder: Where a strategy's folder is built before it appears, on the strategies' file system.
        is_examined: Whether sealed bars of any of these symbols' instruments were looked at.
    """

    def __init__(
        self,
        bars: BarStore,
        strategies: StrategyStore,
        attempts_folder: Path,
        is_examined: Callable[[Sequence[str]], bool],
    ) -> None:
        self._bars = bars
        self._strategies = strategies
        self._attempts_folder = attempts_folder
        self._is_examined = is_examined

    def check(self, design: Design) -> StrategySpecification:
        """Return the strategy if it is valid and its markets can serve it.

        Raises:
            StrategyInvalid: With every fault.
            NotFound: No such market is stored.
            Conflict: Its bars have serious findings that nobody accepted (`market_findings`).
        """
        specification = parse_strategy(design) if isinstance(design, str) else validate_strategy(design)
        markets = [self._bars.research_series(symbol, specification.timeframe) for symbol in specification.symbols]
        faults = [
            f"indicators.{identifier}: {each.type} needs volume, which {info.symbol} {info.timeframe} has not"
            for info in markets
            if not info.has_volume
            for identifier, each in specification.indicators.items()
            if "volume" in CATALOGUE[each.type].inputs
        ]
        if faults:
            raise StrategyInvalid(faults)
        return specification

    def store(self, design: Design, origin: DesignOrigin) -> StrategySpecification:
        """Store a design under the name it gives, and return it; raises as `prepare` and `PreparedDesign.publish`."""
        prepared = self.prepare(design, origin)
        prepared.publish()
        return prepared.specification

    def prepare(self, design: Design, origin: DesignOrigin) -> "PreparedDesign":
        """Check a design and build its folder where nobody looks.

        Raises:
            StrategyInvalid: With every fault.
            InvalidInput: Something in it would know the future (`leak_found`).
            NotFound: Its market or a parent strategy is not stored.
            Conflict: It is a near-copy of a stored one (`near_copy`), or as `check`.
            OSError: The workspace cannot be written.
        """
        specification = self.check(design)
        for parent in origin.parent_strategies:
            self._strategies.text(parent)
        copied = self._strategies.find_near_copy(specification)
        if copied is not None:
            raise Conflict(
                f"this is a near-copy of {copied!r}: the same but for names and numbers within 5 %. "
                "Test another idea, another market or clearly other parameters",
                reason="near_copy",
            )
        refuse_leaking_strategy(specification, self._bars)
        record = DesignRecord(
            **asdict(origin),
            strategy_sha256=specification.sha256(),
            after_exam=self._is_examined(specification.market.symbols),
        )
        # The sweeper knows attempts by the operation's id before the name. Each call has a folder of its own: one
        # that was given up may still be writing to its.
        attempt = self._attempts_folder / f"{origin.operation_id or 'design'}_strategy_{uuid4().hex[:8]}"
        fresh_attempt(attempt)
        write_bytes_atomically(attempt / STRATEGY_FILE, to_yaml(specification).encode())
        write_json_atomically(attempt / DESIGN_FILE, record.model_dump(mode="json"))
        return PreparedDesign(specification, attempt, self._strategies)


@dataclass(frozen=True, slots=True)
class PreparedDesign:
    """A checked design whose folder is whole, and not yet in its place."""

    specification: StrategySpecification
    attempt: Path
    strategies: StrategyStore

    @property
    def name(self) -> str:
        """Return the strategy's name."""
        return self.specification.name

    def publish(self) -> None:
        """Rename the folder into its place. Quick.

        Raises:
            Conflict: The name is used (`name_taken`).
            OSError: The workspace cannot be written.
        """
        try:
            self.strategies.publish_new(self.name, self.attempt)
        except FileExistsError:
            raise Conflict(f"the name {self.name!r} is taken; choose another", reason="name_taken") from None

    def discard(self) -> None:
        """Remove what was not published, if there is anything."""
        discard_attempt(self.attempt)
