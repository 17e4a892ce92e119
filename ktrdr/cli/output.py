"""How commands speak: data on stdout, messages on stderr."""

import json
from collections.abc import Iterable, Sequence

import typer
from pydantic import BaseModel

MISSING = "-"
# What a table for a person keeps to, whatever the terminal.
LINE_WIDTH = 100


def print_document(document: BaseModel) -> None:
    """Print a document as JSON on stdout, over several lines."""
    typer.echo(document.model_dump_json(indent=2))


def print_document_line(document: BaseModel) -> None:
    """Print a document as one line of JSON on stdout, at once."""
    typer.echo(document.model_dump_json())


def print_documents(documents: Iterable[BaseModel]) -> None:
    """Print several documents as one JSON list on stdout."""
    typer.echo(json.dumps([document.model_dump(mode="json") for document in documents], indent=2, ensure_ascii=False))


def print_lines(lines: Iterable[str]) -> None:
    """Print lines for a person on stdout."""
    for line in lines:
        typer.echo(line)


def say(message: str) -> None:
    """Print a message on stderr."""
    typer.echo(message, err=True)


def table_lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table as lines of columns that line up; the last column may be as long as it likes."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    ]


def shorten(text: str, width: int) -> str:
    """Return a text on one line of at most `width` characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"


def figure(value: object, style: str = ".2f") -> str:
    """Return a number as a person reads it, a dash where there is none. `style` is a format specification."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return MISSING
    if style == "d" and isinstance(value, float):
        style = ".4g"  # a count that somebody changed by hand into what is none
    return format(value, style)
