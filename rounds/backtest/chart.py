"""The picture of a backtest's learning curves.

An SVG of its own, not a Vega chart like those of `rounds report`: backtest.md shows it as a file,
where no script can draw it, and the page with Vega in it would be a hundred times as large.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rounds.backtest.verdict import Curve, Curves, accuracies
from rounds.pages import render
from stages.contract.arrays import Floats

COLOURS = ("#808080", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#b8a000")
LEFT, RIGHT, TOP, BOTTOM = 60, 800, 30, 340  # pixels: the edges of what is drawn
FIRST_NAME, NEXT_NAME = 62, 18  # pixels below the axis of the first name, and from one to the next


@dataclass(frozen=True)
class Band:
    """Accuracy at some labels (p,), and the edges of its band."""

    labels: Floats
    mean: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class Tick:
    """A value on an axis, and where it is in pixels."""

    value: float
    at: float


@dataclass(frozen=True)
class Line:
    """A variant's line and band as points of SVG, and the height of its name below the chart."""

    name: str
    colour: str
    band: str
    mean: str
    below: int


@dataclass(frozen=True)
class Scale:
    """A linear map of [low, high] onto pixels from `start` to `end`."""

    low: float
    high: float
    start: int
    end: int

    def pixels(self, values: Floats) -> Floats:
        """Where the values are."""
        share = (values - self.low) / (self.high - self.low)
        return self.start + (self.end - self.start) * share

    def ticks(self) -> list[Tick]:
        """Round numbers of the axis."""
        values = ticks(self.low, self.high)
        positions = self.pixels(np.array(values))
        return [Tick(value, float(at)) for value, at in zip(values, positions, strict=True)]


def band(curves: Sequence[Curve]) -> Band:
    """The mean of a variant's repeats, and one standard error around it; none for one repeat."""
    labels, heights = accuracies(curves)
    error = np.zeros(len(labels))
    if len(heights) > 1:
        error = heights.std(axis=0, ddof=1) / math.sqrt(len(heights))
    mean = heights.mean(axis=0)
    return Band(labels, mean, mean - error, mean + error)


def ticks(low: float, high: float) -> list[float]:
    """Round numbers within [low, high], low < high: 2 to 7 multiples of 1, 2 or 5 times 10**n."""
    size = 10 ** math.floor(math.log10((high - low) / 2))
    step = next(size * times for times in (1, 2, 5, 10) if (high - low) / (size * times) <= 6)
    # a hair of tolerance: an end of the axis that is a round number itself gets its tick
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [multiple * step for multiple in range(first, last + 1)]


def svg(curves: Curves) -> str:
    """Mean accuracy against labels, a line and a band of one standard error for each variant."""
    return svg_of_bands({name: band(own) for name, own in curves.items()})


def svg_of_bands(bands: Mapping[str, Band]) -> str:
    """A line and a band for each name; at least one."""
    x, y = scales(list(bands.values()))
    return render(
        "curves.svg",
        height=BOTTOM + 55 + NEXT_NAME * len(bands),
        left=LEFT,
        right=RIGHT,
        top=TOP,
        bottom=BOTTOM,
        x_ticks=x.ticks(),
        y_ticks=y.ticks(),
        lines=lines(bands, x, y),
    )


def scales(bands: Sequence[Band]) -> tuple[Scale, Scale]:
    """Scales of labels and of accuracy that hold every band."""
    labels = np.concatenate([band.labels for band in bands])
    lowest = min(float(band.low.min()) for band in bands)
    highest = max(float(band.high.max()) for band in bands)
    left = float(labels.min())
    across = Scale(left, left + max(float(np.ptp(labels)), 1.0), LEFT, RIGHT)
    up = Scale(lowest, max(highest, lowest + 1e-3), BOTTOM, TOP)
    return across, up


def lines(bands: Mapping[str, Band], x: Scale, y: Scale) -> list[Line]:
    """What is drawn of each variant."""

    def points(labels: Floats, heights: Floats) -> str:
        pairs = zip(x.pixels(labels), y.pixels(heights), strict=True)
        return " ".join(f"{across:.1f},{up:.1f}" for across, up in pairs)

    drawn = []
    for number, (name, own) in enumerate(bands.items()):
        there_and_back = np.append(own.labels, own.labels[::-1])
        edges = np.append(own.high, own.low[::-1])
        drawn.append(
            Line(
                name=name,
                colour=COLOURS[number % len(COLOURS)],
                band=points(there_and_back, edges),
                mean=points(own.labels, own.mean),
                below=BOTTOM + FIRST_NAME + NEXT_NAME * number,
            )
        )
    return drawn
