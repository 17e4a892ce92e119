"""From text to a plain document: YAML that is safe, small and says each thing once.

PyYAML's safe loader takes the last of two equal keys, expands aliases without end and recurses as deep as the file
asks; each of these is a fault here, found before anything is built.
"""

from collections.abc import Iterator, Mapping

import yaml
from yaml.constructor import SafeConstructor

from ktrdr.errors import StrategyInvalid
from ktrdr.strategy.wording import shown

MAXIMUM_CHARACTERS = 100_000
MAXIMUM_VALUES = 5_000
MAXIMUM_DEPTH = 12

# libyaml where PyYAML was built with it: the same grammar, ten times as fast.
_LOADER: type[yaml.SafeLoader] | type[yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_OPENING = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_CLOSING = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


def read_yaml(text: str) -> tuple[Mapping[str, object], list[str]]:
    """Return the one mapping that a YAML text holds, and a fault for every key that it gives twice.

    Raises:
        StrategyInvalid: Not YAML, not one mapping, too large, or written with anchors or tags.
    """
    if len(text) > MAXIMUM_CHARACTERS:
        limit = f"at most {MAXIMUM_CHARACTERS} are allowed"
        raise StrategyInvalid([f"document: {len(text)} characters; {limit}"])
    try:
        fault = _structure_fault(text)
        if fault is not None:
            raise StrategyInvalid([f"document: {fault}"])
        root = yaml.compose(text, Loader=_LOADER)
        repeated = [] if root is None else list(_repeated_keys(root, ""))
        document = None if root is None else SafeConstructor().construct_document(root)
    except yaml.YAMLError as error:
        raise StrategyInvalid([f"document: not valid YAML{_where(error)}"]) from None
    except (ValueError, OverflowError) as error:
        # PyYAML lets int(), float() and datetime() speak for themselves about `0b_`, `2020-13-45`, 5,000 digits.
        raise StrategyInvalid([f"document: a value cannot be read: {str(error)[:120]}"]) from None
    if not isinstance(document, dict):
        found = "is empty" if document is None else f"is {shown(document)}"
        raise StrategyInvalid([f"document: {found}; expected a mapping that begins with schema: 1"])
    return document, repeated


def _where(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f", line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return f": {str(error).splitlines()[0][:120]}"


def _structure_fault(text: str) -> str | None:
    """Walk the events, which needs no stack, and return the first thing that must not be built."""
    depth = values = documents = 0
    for event in yaml.parse(text, Loader=_LOADER):
        line = event.start_mark.line + 1 if event.start_mark is not None else 0
        documents += isinstance(event, yaml.DocumentStartEvent)
        depth += isinstance(event, _OPENING) - isinstance(event, _CLOSING)
        values += isinstance(event, yaml.NodeEvent)
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            return f"line {line}: anchors and aliases (&, *) are not allowed; write the value out"
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag is not None:
            return f"line {line}: the tag {shown(event.tag)} is not allowed; write a plain value"
        if depth > MAXIMUM_DEPTH:
            return f"line {line}: nested deeper than {MAXIMUM_DEPTH} levels"
        if values > MAXIMUM_VALUES:
            return f"line {line}: more than {MAXIMUM_VALUES} values"
        if documents > 1:
            return f"line {line}: a second document begins (---); one strategy is one document"
    return None


def _repeated_keys(node: yaml.Node, path: str) -> Iterator[str]:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _repeated_keys(item, f"{path}[{index}]")
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[str, int] = {}
    for key, value in node.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else None
        inner = f"{path}.{name}" if path else f"{name}"
        line = key.start_mark.line + 1
        if name is None:
            yield f"{path or 'document'}: line {line}: a key must be a plain name"
        elif name == "<<":
            yield f"{path or 'document'}: line {line}: merging with << is not allowed; write the fields out"
        elif name in lines:
            yield f"{inner}: given twice, in lines {lines[name]} and {line}; keep one"
        if name is not None:
            lines.setdefault(name, line)
        yield from _repeated_keys(value, inner)


def plain_faults(document: object) -> list[str]:
    """Return what keeps a document from being plain: keys that are not text, dates, text that no file can hold.

    Raises:
        StrategyInvalid: Too many values or levels; a document from HTTP or a tool never met `read_yaml`.
    """
    faults: list[str] = []
    pending: list[tuple[str, object, int]] = [("", document, 1)]
    values = 0
    while pending:
        path, value, depth = pending.pop()
        values += 1
        if values > MAXIMUM_VALUES:
            raise StrategyInvalid([f"document: more than {MAXIMUM_VALUES} values"])
        if depth > MAXIMUM_DEPTH:
            raise StrategyInvalid([f"document: nested deeper than {MAXIMUM_DEPTH} levels"])
        fault = _plain_fault(value)
        if fault is not None:
            faults.append(f"{path or 'document'}: {fault}")
        elif isinstance(value, Mapping):
            pending += [(f"{path}.{key}" if path else f"{key}", inner, depth + 1) for key, inner in value.items()]
        elif isinstance(value, list | tuple):
            pending += [(f"{path}[{index}]", inner, depth + 1) for index, inner in enumerate(value)]
    return faults[::-1]


def _plain_fault(value: object) -> str | None:
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                return f"the key {shown(key)} is not text; put it in quotes if it is a name"
            if not _is_writable(key):
                return f"the key {shown(key)} holds characters that no file can hold"
        return None
    if isinstance(value, str):
        return None if _is_writable(value) else f"{shown(value)} holds characters that no file can hold"
    if value is None or isinstance(value, bool | int | float | list | tuple):
        return None
    kind = type(value).__name__
    return f"{shown(str(value))} was read as a {kind}; text belongs in quotes, and a strategy holds no dates"


def _is_writable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
        return False
    return True
