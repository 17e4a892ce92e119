"""The folder of strategies: which exist, what they say, what was stored beside them."""

import json
import re
from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager
from difflib import get_close_matches
from pathlib import Path

from pydantic import JsonValue

from ktrdr.artifacts.files import canonical_json
from ktrdr.artifacts.shelf import PlainShelf, Shelf
from ktrdr.errors import InvalidInput, NotFound, StrategyInvalid
from ktrdr.strategy.sections import NAME_PATTERN
from ktrdr.strategy.similarity import are_near_copies
from ktrdr.strategy.specification import StrategySpecification
from ktrdr.strategy.validation import parse_strategy

STRATEGY_FILE = "strategy.yaml"
REPORT_FILE = "report.html"
_FILE_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,63}\.json")


class StrategyStore:
    """Reads and writes `<workspace>/strategies/`; what another process, or machine, stored is seen at once.

    Args:
        strategies_dir: The folder.
        shelf: How it is shared with other machines; not at all, or as a folder that all mount, when None.
    """

    def __init__(self, strategies_dir: Path, shelf: Shelf | None = None) -> None:
        self._root = strategies_dir
        self._shelf = PlainShelf(strategies_dir) if shelf is None else shelf

    def settled(self) -> AbstractContextManager[None]:
        """Return a context in which this thread asks other machines' store only once, however much it reads."""
        return self._shelf.settled()

    def names(self) -> list[str]:
        """Return the stored strategies' names, oldest first."""
        return [name for _, name in self.stored()]

    def stored(self) -> list[tuple[int, str]]:
        """Return when each strategy was stored, in nanoseconds since 1970, and its name, oldest first."""
        self._shelf.bring_all(_is_document)
        if not self._root.is_dir():
            return []
        return sorted(
            (path.stat().st_mtime_ns, path.parent.name)
            for path in self._root.glob(f"*/{STRATEGY_FILE}")
            if re.fullmatch(NAME_PATTERN, path.parent.name) is not None
        )

    def folder(self, name: str) -> Path:
        """Return where a strategy of this name is, or would be, stored, with all its files there.

        Raises:
            InvalidInput: The name could leave the folder, or is not one that a strategy can have.
        """
        path = self.path(name)
        self._shelf.bring(name)
        return path

    def path(self, name: str) -> Path:
        """Return the same without looking whether the files are there; raises as `folder`."""
        if re.fullmatch(NAME_PATTERN, name) is None:
            raise InvalidInput(
                f"{name[:80]!r} is no strategy name: 3 to 64 of a-z, 0-9 and _, beginning with a letter",
                reason="invalid_name",
            )
        return self._root / name

    def exists(self, name: str) -> bool:
        """Return whether a strategy of this name is stored."""
        return (self._documents(name) / STRATEGY_FILE).is_file()

    def text(self, name: str) -> str:
        """Return a stored strategy's YAML as written.

        Raises:
            NotFound: No such strategy; the message names the closest one.
        """
        path = self._documents(name) / STRATEGY_FILE
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
            document = json.loads((self._documents(name) / filename).read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise StrategyInvalid([f"{name}/{filename}: holds no JSON object; it was changed or cut short"])
        return document

    def find_near_copy(self, specification: StrategySpecification) -> str | None:
        """Return a stored strategy of another name that says the same, every number within 5 %; None if none does."""
        with self.settled():
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

    def upload(self, name: str, attempt: Path, files: Iterable[str]) -> JsonValue:
        """Store an attempt's files where nobody sees them yet, so that any machine can `publish` them."""
        return self._shelf.upload(name, attempt, files)

    def publish(
        self,
        name: str,
        attempt: Path,
        files: Collection[str],
        *,
        uploaded: JsonValue = None,
        dropping: Iterable[str] = (),
    ) -> None:
        """Put an attempt's files beside a strategy, in this order, and remove what is `dropping`.

        Again after a crash is fine. Quick if they are `uploaded`.
        """
        self._shelf.publish(self.path(name).name, attempt, files, uploaded=uploaded, dropping=dropping)

    def publish_new(self, name: str, attempt: Path) -> None:
        """Make an attempt's folder the strategy of this name, whole. If it cannot, the attempt is discarded.

        Raises:
            FileExistsError: The name is used.
        """
        self._shelf.publish_new(self.path(name).name, attempt)

    def write_json(self, name: str, filename: str, document: JsonValue) -> None:
        """Replace one JSON document beside a strategy."""
        self._shelf.write(self.path(name).name, filename, canonical_json(document))

    def write_report(self, name: str, page: str) -> Path:
        """Replace the page about a strategy, unless it says the same already, and return where it is."""
        path = self.path(name) / REPORT_FILE
        self._shelf.bring(name, lambda filename: filename == REPORT_FILE)
        data = page.encode()
        if not path.is_file() or path.read_bytes() != data:
            self._shelf.write(name, REPORT_FILE, data)
        return path

    def _documents(self, name: str) -> Path:
        path = self.path(name)
        self._shelf.bring(name, _is_document)
        return path


def _is_document(filename: str) -> bool:
    return filename.endswith((".yaml", ".json"))
