"""Labels beside the points of a picture, moved apart where they would lie on each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # an extra: whoever draws has it
    from matplotlib.axes import Axes

FONT_SIZE: Final = 8
_RIGHT, _UP = 8.0, 4.0
"""From a point to its label, in pixels."""
_STEP: Final = 3.0
_CLEARANCE: Final = 5.0
"""Around a point, in which no label may lie."""
_LETTER_WIDTH, _LINE_HEIGHT = 0.62, 1.15
"""By the font's size."""
_ALONG_A_LINE: Final = [n / 50 for n in range(51)]
"""No label may lie on these places of each stretch of a line."""


@dataclass(frozen=True, slots=True)
class Label:
    """A point and what stands beside it."""

    at: tuple[float, float]
    text: str
    colour: str = "black"
    bold: bool = False


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels."""

    left: float
    bottom: float
    right: float
    top: float

    def overlaps(self, other: Box) -> bool:
        """Tell whether they share anything."""
        beside = self.right <= other.left or other.right <= self.left
        return not beside and self.bottom < other.top and other.bottom < self.top

    def raised(self, by: float) -> Box:
        """Give the same rectangle higher up."""
        return replace(self, bottom=self.bottom + by, top=self.top + by)


def spread(boxes: Sequence[Box], taken: Sequence[Box]) -> list[float]:
    """Find how far up each box moves, so that none lies on another or on what is taken."""
    placed, moves = list(taken), []
    for box in boxes:
        tries = 0
        while any(box.raised(_nth(tries)).overlaps(other) for other in placed):
            tries += 1
        moves.append(_nth(tries))
        placed.append(box.raised(moves[-1]))
    return moves


def _nth(tries: int) -> float:
    """0, then up and down by turns, further each time."""
    return _STEP * ((tries + 1) // 2) * (1 if tries % 2 else -1)


def label_points(
    panel: Axes, labels: Sequence[Label], *, line: Sequence[tuple[float, float]] = ()
) -> None:
    """Write the labels beside their points, off a line; to be called once the limits are set."""
    figure = panel.figure
    figure.canvas.draw()  # only the layout decides where the points are
    places = [panel.transData.transform(label.at) for label in labels]
    pixels = figure.dpi / 72
    letter, height = FONT_SIZE * pixels * _LETTER_WIDTH, FONT_SIZE * pixels * _LINE_HEIGHT
    boxes = [
        Box(
            x + _RIGHT,
            y + _UP - height / 2,
            x + _RIGHT + letter * len(label.text),
            y + _UP + height / 2,
        )
        for (x, y), label in zip(places, labels, strict=True)
    ]
    c = _CLEARANCE
    taken = [Box(x - c, y - c, x + c, y + c) for x, y in places]
    drawn = [panel.transData.transform(at) for at in line]
    for (x, y), (next_x, next_y) in pairwise(drawn):
        for share in _ALONG_A_LINE:
            at_x, at_y = x + share * (next_x - x), y + share * (next_y - y)
            taken.append(Box(at_x - 1, at_y - 1, at_x + 1, at_y + 1))
    for label, up in zip(labels, spread(boxes, taken), strict=True):
        panel.annotate(
            label.text,
            label.at,
            xytext=(_RIGHT / pixels, (_UP + up) / pixels),
            textcoords="offset points",
            fontsize=FONT_SIZE,
            color=label.colour,
            weight="bold" if label.bold else "normal",
            verticalalignment="center",
            arrowprops={"arrowstyle": "-", "color": "#b0b0b0", "lw": 0.6} if abs(up) > c else None,
        )
