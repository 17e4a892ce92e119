"""What every chart is drawn with: scales, marks of an axis, fewer points that look the same, SVG elements."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.etree import ElementTree

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.intp]
_NICE_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight line from values to pixels: `low` lies at `start`, `high` at `end`. Needs `low` < `high`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, values: FloatArray) -> FloatArray:
        """Return where values lie, in pixels."""
        return self.start + (values - self.low) / (self.high - self.low) * (self.end - self.start)

    def at(self, value: float) -> float:
        """Return where one value lies."""
        return float(self(np.array([value]))[0])


def spanning(values: FloatArray, start: float, end: float, *, margin: float = 0.04) -> Scale:
    """Return a scale on which all finite values lie, with a margin (a fraction of their span) at both ends."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    room = (high - low) * margin or max(abs(high), 1.0) * margin
    return Scale(low - room, high + room, start, end)


def round_marks(low: float, high: float, at_most: int) -> list[float]:
    """Return round numbers within low..high, evenly spaced, at most so many (>= 2)."""
    raw = (high - low) / at_most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(each * power for each in _NICE_STEPS if each * power >= raw)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [number * step for number in range(first, last + 1)]


def keep_extremes(columns: NDArray[np.int64], values: FloatArray) -> IndexArray:
    """Return the indices of the first, lowest, highest and last value of every column, ascending.

    A line through them colours the same pixels as one through all, so no peak, trough or end is lost.

    Args:
        columns: Pixel column of each value (n,), ascending.
        values: The values (n,), without NaN.
    """
    starts = np.concatenate(([0], np.flatnonzero(np.diff(columns)) + 1))
    stops = np.append(starts[1:], len(columns))
    kept: set[int] = set()
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        part = values[start:stop]
        kept |= {start, start + int(part.argmin()), start + int(part.argmax()), stop - 1}
    return np.array(sorted(kept), dtype=np.intp)


def line_path(x: FloatArray, y: FloatArray) -> str:
    """Return the `d` of a path through points, to a hundredth of a pixel."""
    return "M" + "L".join(f"{each_x:.2f} {each_y:.2f}" for each_x, each_y in zip(x.tolist(), y.tolist(), strict=True))


def day(epoch_ms: int) -> str:
    """Return the UTC date of an instant, as 2017-02-19."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).strftime("%Y-%m-%d")


class Drawing:
    """An SVG image with a title and a description, read out by screen readers. What it is told is escaped."""

    def __init__(self, width: int, height: int, *, key: str, title: str, description: str) -> None:
        self.width, self.height = width, height
        attributes = {
            "viewBox": f"0 0 {width} {height}",
            "role": "img",
            "aria-labelledby": f"{key}-title {key}-text",
            "class": "chart",
        }
        self._root = ElementTree.Element("svg", attributes)
        ElementTree.SubElement(self._root, "title", {"id": f"{key}-title"}).text = title
        ElementTree.SubElement(self._root, "desc", {"id": f"{key}-text"}).text = description

    def add(self, tag: str, style: str, attributes: Mapping[str, str | float], text: str | None = None) -> None:
        """Add an element of a CSS class; numbers are written to a hundredth."""
        written = {key: each if isinstance(each, str) else f"{each:.2f}" for key, each in attributes.items()}
        ElementTree.SubElement(self._root, tag, {"class": style, **written}).text = text

    def line(self, style: str, x1: float, y1: float, x2: float, y2: float) -> None:
        """Add a straight line."""
        self.add("line", style, {"x1": x1, "y1": y1, "x2": x2, "y2": y2})

    def text(self, x: float, y: float, words: str, *, anchor: str = "start", style: str = "label") -> None:
        """Add words; `anchor` says which part of them lies at x."""
        self.add("text", style, {"x": x, "y": y, "text-anchor": anchor}, words)

    def value_axis(self, scale: Scale, marks: list[float], style: str, left: float, right: float) -> None:
        """Add a horizontal line and a label, formatted in `style`, for each mark."""
        for mark in marks:
            y = scale.at(mark)
            self.line("grid", left, y, right, y)
            self.text(left - 6, y + 4, format(mark + 0.0, style), anchor="end", style="label value")

    def markup(self) -> Markup:
        """Return the image, to be put into a page as it is."""
        return Markup(ElementTree.tostring(self._root, encoding="unicode"))  # ElementTree escaped it
