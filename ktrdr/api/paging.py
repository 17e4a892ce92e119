"""Pages of lists: how many, from where on, and the cursor of those that have a sort key of their own."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Query

from ktrdr.errors import InvalidInput
from ktrdr.operations.store import MAX_PAGE

Entry = TypeVar("Entry")
Key = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class PageOptions:
    """How much of a list, and from where on."""

    limit: int
    cursor: str | None


def _page_options(
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50, cursor: Annotated[str | None, Query(max_length=200)] = None
) -> PageOptions:
    return PageOptions(limit, cursor)


# What an endpoint declares to take `limit` and `cursor`.
Page = Annotated[PageOptions, Depends(_page_options)]


def take_page(
    entries: Sequence[Entry], key: Callable[[Entry], Key], page: PageOptions
) -> tuple[list[Entry], str | None]:
    """Return a page of entries and the cursor of the next one, None at the end.

    Args:
        entries: All of them, in ascending order of `key`. What goes or comes between two pages moves no other.
        key: Of one entry; no two have the same.
        page: Which.

    Raises:
        InvalidInput: The cursor is none that a page gave (`bad_cursor`).
    """
    if page.cursor is not None:
        after = _decode(page.cursor)
        try:
            entries = [entry for entry in entries if key(entry) > after]
        except TypeError:
            raise _bad_cursor(page.cursor) from None
    shown = list(entries[: page.limit])
    return shown, _encode(key(shown[-1])) if len(entries) > page.limit else None


def _encode(key: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def _decode(cursor: str) -> Key:
    try:
        key = json.loads(base64.urlsafe_b64decode(cursor.encode()))
    except ValueError:
        raise _bad_cursor(cursor) from None
    if not isinstance(key, list) or not all(isinstance(part, int | str) for part in key):
        raise _bad_cursor(cursor)
    return tuple(key)


def _bad_cursor(cursor: str) -> InvalidInput:
    return InvalidInput(f"cursor: need the next_cursor of an earlier page, was {cursor!r}", reason="bad_cursor")
