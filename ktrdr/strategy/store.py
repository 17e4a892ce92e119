"""The folder of strategies: which exist, what they say, what was stored beside them."""

import json
import re
from difflib import get_close_matches
from pathlib import Path

from pydantic import JsonValue

from ktrdr.errors import InvalidInput, NotFound, StrategyInvalid
from ktrdr.strategy.sections import NAME_PATTERN
from ktrdr.strategy.similarity import are_near_copies
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.strategy.validation import parse_strategy

STRATEGY_FILE = "strategy.yaml"
_FILE_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,63}\.json")


class StrategyStore:
    """Reads `<workspace>/strategies/`; nothing is cached, so what another process stored is seen at once."""

    def __init__(self, strategies_dir: Path) -> None:
        self._root = strategies_dir

    def names(self) -> list[str]:
        """Return the stored strategies' names, oldest first."""
        return [name for _, name in self.stored()]

    def stored(self) -> list[tuple[int, str]]:
        """Return when each strategy was stored, in nanoseconds since 1970, and its name, oldest first."""
        if not self._root.is_dir():
            return []
        return sorted(
            (path.stat().st_mtime_ns, path.parent.name)
            for path in self._root.glob(f"*/{STRATEGY_FILE}")
            if re.fullmatch(NAME_PATTERN, path.parent.name) is not None
        )

    def folder(self, name: str) -> Path:
        """Return where a strategy of this name is, or would be, stored.

        Raises:
            InvalidInput: The name could leave the folder, or is not one that a strategy can have.
        """
        if re.fullmatch(NAME_PATTERN, name) is None:
            raise InvalidInput(
                f"{name[:80]!r} is no strategy name: 3 to 64 of a-z, 0-9 and _, beginning with a letter",
                reason="invalid_name",
            )
        return self._root / name

    def exists(self, name: str) -> bool:
        """Return whether a strategy of this name is stored."""
        return (self.folder(name) / STRATEGY_FILE).is_file()

    def text(self, name: str) -> str:
        """Return a stored strategy's YAML as written.

        Raises:
            NotFound: No such strategy; the message names the closest one.
        """
        path = self.folder(name) / STRATEGY_FILE
        try:
            return path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            names = self.names()
            near = get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {len(names)} strategies"
            raise NotFound(f"no strategy {name!r}; {hint}", reason="unknown_strategy") from None

    def read(self, name: str) -> StrategySpecification:
        """Return a stored strategy.

        Raises:
            NotFound: No such strategy.
            StrategyInvalid: Its file was changed by hand into something invalid.
        """
        try:
            specification = parse_strategy(self.text(name))
        except UnicodeDecodeError:
            raise StrategyInvalid([f"document: {name}/{STRATEGY_FILE} is not UTF-8 text"]) from None
        if specification.name != name:
            raise StrategyInvalid([f"name: {specification.name!r} lies in the folder {name!r}; they must be equal"])
        return specification

    def read_json(self, name: str, filename: str) -> dict[str, JsonValue] | None:
        """Return a JSON document beside a strategy (`training.json`), None where there is none yet.

        Raises:
            InvalidInput: Not the name of such a file.
            StrategyInvalid: The file is no JSON object.
        """
        if _FILE_PATTERN.fullmatch(filename) is None:
            raise InvalidInput(f"{filename[:80]!r} is not the name of a strategy's JSON file", reason="invalid_name")
        try:
            document = json.loads((self.folder(name) / filename).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise StrategyInvalid([f"{name}/{filename}: holds no JSON object; it was changed or cut short"])
        return document

    def find_near_copy(self, specification: StrategySpecification) -> str | None:
        """Return a stored strategy of another name that says the same, every number within 5 %; None if none does."""
        for name in self.names():
            if name == specification.name:
                continue
            try:
                stored = self.read(name)
            except StrategyInvalid:
                continue  # a file spoilt by hand is nobody's original
            if are_near_copies(specification, stored):
                return name
        return None
