"""What finished replays say: gain over random with its error, labels saved, which strategy to use and how sure that is.

Everything is paired: strategies of one repeat share seed labels, test rows and random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from rounds import report as page
from stages.contract.canonical import Row

Floats = NDArray[np.float64]
Curve = Sequence[Mapping[str, float]]
DRAWS = 2000  # resamples of repeats behind the interval of the saving
ENOUGH = 10_000  # repeats; more than that will not be run
COLOURS = ("#808080", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#b8a000")
HEAD = (
    "strategy",
    "area",
    "gain over random",
    "win/tie/loss",
    "P(better)",
    "labels to target",
    "saving",
)
CONTROL = "What the control arm tells"
CONTROL_HEAD = (
    "strategy", "control", "costs", "its labels", "gap known to", "gap shown", "labels saved", "least to show", "shown",
)  # fmt: skip
CONTROL_NOTE = (
    "What validate would say where these loops end, by the held-out rows (medians; a project without a test set "
    "knows less). costs: mean accuracy, against the smallest fraction. gap known to: half of the 95 % interval of "
    "active - random. least to show: a smaller saving would not be surely above 0. shown: repeats in which it was."
)


def area(curve: Curve, measure: str, until: float) -> float:
    """The mean height of a curve from its first point to `until` labels, by trapezoids."""
    x = np.array([point["n_labels"] for point in curve])
    y = np.array([point[measure] for point in curve])
    grid = np.unique(np.append(x[x < until], until))
    heights = np.interp(grid, x, y)
    return (
        float(np.trapezoid(heights, grid) / (until - grid[0]))
        if len(grid) > 1
        else float(heights[0])
    )


def accuracies(curves: Sequence[Curve]) -> tuple[Floats, Floats]:
    """Labels (p,), the mean over repeats, and accuracies (n, p) at the p points that all n repeats have."""
    points = list(zip(*curves, strict=False))
    x = np.array([np.mean([point["n_labels"] for point in same]) for same in points])
    return x, np.array([[point["accuracy"] for point in same] for same in points]).T


def labels_to(x: Floats, heights: Floats, target: float) -> Floats:
    """The labels at which each of d curves, heights (d, p) at x (p,), first reaches `target`; infinity where none does.

    Between two points in proportion. Equal to nine digits is reached: the target often is the mean
    of these heights.
    """
    rows, reached = np.arange(len(heights)), heights >= target - 5e-10
    after = reached.argmax(axis=1)
    before = np.maximum(after - 1, 0)
    rise = heights[rows, after] - heights[rows, before]
    share = np.where(after > 0, (target - heights[rows, before]) / np.where(rise > 0, rise, 1), 0)
    return np.where(
        reached.any(axis=1), x[before] + np.minimum(share, 1) * (x[after] - x[before]), np.inf
    )


def paired(gaps: Floats) -> Row:
    """Mean of paired differences (n,), standard error, 95 % interval, wins, ties, losses, chance that the mean is > 0.

    Interval and chance are Student's t with n - 1 degrees (flat prior); None with fewer than two
    repeats or when all differences are equal. Source: Gosset, "The probable error of a mean"
    (1908).
    """
    from scipy.stats import t

    gaps = np.round(gaps, 9)
    n, mean = len(gaps), float(gaps.mean())
    counts = {
        "wins": int((gaps > 0).sum()),
        "ties": int((gaps == 0).sum()),
        "losses": int((gaps < 0).sum()),
    }
    error = float(gaps.std(ddof=1) / math.sqrt(n)) if np.ptp(gaps) else 0.0
    if error == 0:
        return {
            "mean": mean,
            "standard_error": None,
            "low": None,
            "high": None,
            "superior": None,
            **counts,
        }
    half = float(t.ppf(0.975, n - 1)) * error
    facts = {"mean": mean, "standard_error": error, "low": mean - half, "high": mean + half}
    return {**facts, "superior": float(t.cdf(mean / error, n - 1)), **counts}


def more_repeats(gaps: Floats) -> int | None:
    """How many more repeats a 95 % interval needs to leave out 0, if mean and spread stay; None when none would do."""
    from scipy.stats import t

    mean, spread = abs(float(gaps.mean())), float(gaps.std(ddof=1)) if len(gaps) > 1 else 0.0
    if mean < 1e-9 or len(gaps) < 2:
        return None
    counts = np.arange(len(gaps), ENOUGH)
    settled = t.ppf(0.975, counts - 1) * spread / np.sqrt(counts) < mean
    return int(counts[settled.argmax()] - len(gaps)) if settled.any() else None


def saving(own: Sequence[Curve], random: Sequence[Curve], target: float, seed: int) -> Row:
    """Labels that the mean curves need to a target accuracy; labels of random over own, with a bootstrap interval.

    A value is None where the target is not reached, a bound where too many resamples do not reach
    it; where random does not get there, it is counted at its last point, so that the saving is at
    least what is said.
    Source: Efron, Tibshirani (1993), percentiles over repeats.
    """
    n = len(own)
    rows = np.vstack(
        [np.arange(n), np.random.default_rng(seed).integers(0, n, (DRAWS if n > 1 else 0, n))]
    )

    def needed(curves: Sequence[Curve]) -> Floats:
        x, heights = accuracies(curves)
        return labels_to(x, heights[rows].mean(axis=1), target)

    needs = needed(own)
    theirs = np.minimum(needed(random), accuracies(random)[0][-1])
    factors = np.divide(
        theirs, needs, out=np.zeros_like(needs), where=needs > 0
    )  # 0 where the target is not reached
    bounds = np.quantile(factors[1:], [0.025, 0.975], method="inverted_cdf") if n > 1 else (0, 0)
    value, low, high = (float(found) or None for found in (factors[0], *bounds))
    needed_labels = float(needs[0]) if math.isfinite(needs[0]) else None
    return {
        "labels_to_target": needed_labels,
        "saving_factor": value,
        "saving_low": low,
        "saving_high": high,
    }


def smallest_control(arms: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """For each name, the one of the same strategy, model and calibration with the smallest fraction of control."""
    least: dict[tuple[str, ...], str] = {}
    kinds = {
        name: tuple(arm[key] for key in ("strategy", "model", "calibration"))
        for name, arm in arms.items()
    }
    for name in sorted(arms, key=lambda name: float(arms[name]["control"] or 0)):
        least.setdefault(kinds[name], name)
    return {name: least[kind] for name, kind in kinds.items()}


def summary(
    curves: Mapping[str, Sequence[Curve]], baseline: Mapping[str, str], target: float | None,
    priced: Collection[str] = (),
) -> Row:  # fmt: skip
    """Each strategy against its baseline, and the decision. curves: by name, one per repeat, in the same order.

    target: an accuracy; None: what the first baseline has in the end. priced: names that are no
    choice between strategies (the same with a larger control arm, which costs and tells), left out
    of the decision.
    """
    first = next(iter(baseline.values()))
    goal = float(accuracies(curves[first])[1][:, -1].mean()) if target is None else target
    areas: dict[str, dict[str, Floats]] = {name: {} for name in curves}
    ends = [
        min(curves[name][place][-1]["n_labels"] for name in curves)
        for place in range(len(curves[first]))
    ]
    arms: list[Row] = []
    for name, own in curves.items():
        for measure in ("accuracy", "macro_f1"):
            pairs = zip(own, ends, strict=True)
            areas[name][measure] = np.array([area(curve, measure, end) for curve, end in pairs])
    for name, own in curves.items():
        gains = {m: areas[name][m] - areas[baseline[name]][m] for m in areas[name]}
        facts = saving(own, curves[baseline[name]], goal, seed=0)
        arms.append({
            "strategy": name, "baseline": baseline[name],
            "areas": areas[name]["accuracy"].tolist(),
            "area": {m: float(values.mean()) for m, values in areas[name].items()},
            "gain": {m: paired(gap) for m, gap in gains.items()} if name != baseline[name] else None,
            "final_accuracy": float(accuracies(own)[1][:, -1].mean()), **facts,
        })  # fmt: skip
    order = sorted(
        (arm for arm in arms if arm["strategy"] not in priced),
        key=lambda arm: -arm["area"]["accuracy"],
    )
    return {
        "repeats": len(ends),
        "target": goal,
        "strategies": arms,
        "decision": _decision(order, areas),
    }


def control(
    least: Mapping[str, str],
    proofs: Mapping[str, Sequence[Row]],
    areas: Mapping[str, Sequence[float]],
) -> list[Row]:
    """What each fraction of the control arm costs, and what a project that ends like these loops would know by it.

    proofs: by name, one per repeat: fraction, gap and saving as `validate` tells them. A value is
    the median of the repeats, shown: the share of them whose interval lies above 0. costs: mean
    accuracy along the curve against the smallest fraction that was tried (`smallest_control`), None
    for that one itself. detects: the saving (labels) that reaches as far above 0 as the interval
    reaches below its middle.
    """
    rows: list[Row] = []
    for name in sorted(proofs, key=lambda name: float(proofs[name][0]["fraction"])):
        gaps, savings = ([proof[key] for proof in proofs[name]] for key in ("gap", "saving"))
        costs = (
            None
            if least[name] == name
            else paired(np.array(areas[least[name]]) - np.array(areas[name]))
        )
        rows.append({
            "strategy": name, "fraction": proofs[name][0]["fraction"], "costs": costs,
            "labels": _median([gap["labels"] for gap in gaps]),
            "gap_known_to": _median([_half_width(gap) for gap in gaps]), "gap_shown": _shown(gaps),
            "saved": _median([saving["saved"] for saving in savings]),
            "detects": _median([_below(saving) for saving in savings]), "saving_shown": _shown(savings),
        })  # fmt: skip
    return rows


def _half_width(gap: Row) -> float | None:
    return None if gap["low"] is None else (gap["high"] - gap["low"]) / 2


def _below(saving: Row) -> float | None:
    return (
        None
        if saving["low"] is None or saving["saved"] is None
        else saving["saved"] - saving["low"]
    )


def _median(values: Sequence[float | None]) -> float | None:
    """The median, what is not known counting as more than anything known; None where that is the median."""
    middle = float(np.median([math.inf if value is None else value for value in values]))
    return middle if math.isfinite(middle) else None


def _shown(rows: Sequence[Row]) -> float:
    return float(np.mean([row["low"] is not None and row["low"] > 0 for row in rows]))


def _decision(order: list[Row], areas: Mapping[str, Mapping[str, Floats]]) -> Row:
    """The best by mean area, how it compares with the second, and what would settle it."""
    best = order[0]["strategy"]
    if len(order) == 1:
        return {"use": best, "second": None, "said": f"only {best} was run"}
    second = order[1]["strategy"]
    gaps = areas[best]["accuracy"] - areas[second]["accuracy"]
    facts, more = paired(gaps), more_repeats(gaps)
    sure = (
        f"better than {second} with probability {facts['superior']:.2f}"
        if facts["superior"]
        else "not yet sure"
    )
    settled = facts["low"] is not None and facts["low"] > 0
    ahead = f"{100 * facts['mean']:.2f} points of mean accuracy ahead of {second}"
    if settled:
        rest = "that settles it"
    elif len(gaps) < 2:
        rest = "one repeat cannot tell it from chance: give --repeats 5 or more"
    elif more is None:
        rest = "more repeats would hardly tell them apart: take the simpler one"
    else:
        rest = f"about {more} more repeats would settle it, if the difference stays"
    return {
        "use": best,
        "second": second,
        **facts,
        "more_repeats": more,
        "said": f"use {best}: {ahead}, {sure}; {rest}",
    }


def cells(found: Row) -> list[tuple[str, ...]]:
    """The rows of the table, best first, as text."""
    rows: list[tuple[str, ...]] = []
    for arm in sorted(found["strategies"], key=lambda arm: -arm["area"]["accuracy"]):
        gain, needs, factor = (
            arm["gain"] and arm["gain"]["accuracy"],
            arm["labels_to_target"],
            arm["saving_factor"],
        )
        known = gain and gain["standard_error"] is not None
        counts = f"{gain['wins']}/{gain['ties']}/{gain['losses']}" if gain else "-"
        interval = (
            f" [{arm['saving_low']:.2f}, {arm['saving_high']:.2f}]"
            if arm["saving_low"] is not None
            else ""
        )
        times = f"{factor:.2f}x{interval}" if factor is not None and gain else "-"
        chance = f"{gain['superior']:.3f}" if known else "-"
        reached = "not reached" if needs is None else f"{needs:.0f}"
        rows.append(
            (
                arm["strategy"],
                f"{arm['area']['accuracy']:.4f}",
                _difference(gain),
                counts,
                chance,
                reached,
                times,
            )
        )
    return rows


def control_cells(found: Row) -> list[tuple[str, ...]]:
    """The rows of the control arm's table as text."""
    rows: list[tuple[str, ...]] = []
    for row in found["control"]:
        gap = "not known" if row["gap_known_to"] is None else f"± {row['gap_known_to']:.3f}"
        saved, least = (
            "not known" if row[key] is None else f"{round(row[key])}"
            for key in ("saved", "detects")
        )
        shown = f"{row['gap_shown']:.0%}", f"{row['saving_shown']:.0%}"
        known = f"{row['fraction']:g}", _difference(row["costs"]), f"{row['labels']:.0f}", gap
        rows.append((row["strategy"], *known, shown[0], saved, least, shown[1]))
    return rows


def _difference(gap: Row | None) -> str:
    """A paired difference with its standard error, `-` for none."""
    if gap is None:
        return "-"
    return f"{gap['mean']:+.4f}" + (
        f" ± {gap['standard_error']:.4f}" if gap["standard_error"] is not None else ""
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, aligned to be read as it stands."""
    widths = [max(len(row[place]) for row in [head, *rows]) for place in range(len(head))]
    lines = [
        "| " + " | ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)) + " |"
        for row in [head, *rows]
    ]
    return "\n".join(
        [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
    )


def told(found: Row, picture: str = "") -> str:
    """The tables and the notes as Markdown that can be read as it stands; picture: Markdown between them."""
    parts = [table(HEAD, cells(found)), picture]
    if found["control"]:
        parts += [f"## {CONTROL}", table(CONTROL_HEAD, control_cells(found)), CONTROL_NOTE]
    return "\n\n".join(
        part for part in [*parts, "\n".join(f"- {note}" for note in found["notes"])] if part
    )


def markdown(found: Row) -> str:
    """The decision, the tables and the curves as Markdown."""
    return f"# Backtest\n\n**{found['decision']['said']}**\n\n{told(found, '![Learning curves](curves.svg)')}\n"


def ticks(low: float, high: float) -> list[float]:
    """Round numbers within [low, high], low < high: 2 to 7 multiples of 1, 2 or 5 times a power of ten."""
    size = 10 ** math.floor(math.log10((high - low) / 2))
    step = next(size * times for times in (1, 2, 5, 10) if (high - low) / (size * times) <= 6)
    return [
        place * step
        for place in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    ]


def svg(curves: Mapping[str, Sequence[Curve]]) -> str:
    """Mean accuracy against labels, one line a strategy, with a band of one standard error; the names below."""
    drawn = []
    for own in curves.values():
        labels, heights = accuracies(own)
        error = (
            heights.std(axis=0, ddof=1) / math.sqrt(len(heights))
            if len(heights) > 1
            else np.zeros(len(labels))
        )
        drawn.append((labels, heights.mean(axis=0), error))
    x = np.concatenate([labels for labels, _, _ in drawn])
    y = np.concatenate([mean + side * error for _, mean, error in drawn for side in (-1, 1)])
    left, wide, low, high = x.min(), max(np.ptp(x), 1), y.min(), max(y.max(), y.min() + 1e-3)

    def across(labels: Floats) -> Floats:
        return np.asarray(60 + 740 * (labels - left) / wide)

    def up(heights: Floats) -> Floats:
        return np.asarray(340 - 310 * (heights - low) / (high - low))

    def path(labels: Floats, heights: Floats) -> str:
        return " ".join(
            f"{a:.1f},{b:.1f}" for a, b in zip(across(labels), up(heights), strict=True)
        )

    parts = [
        f'<text x="{across(np.array(place)):.1f}" y="358" text-anchor="middle">{place:g}</text>'
        for place in ticks(left, left + wide)
    ]
    for place in ticks(low, high):
        at = up(np.array(place))
        parts.append(f'<path d="M60 {at:.1f}H800" stroke="#888" opacity="0.25"/>')
        parts.append(f'<text x="52" y="{at + 4:.1f}" text-anchor="end">{place:.4g}</text>')
    for place, (name, (labels, mean, error)) in enumerate(zip(curves, drawn, strict=True)):
        colour, below = COLOURS[place % len(COLOURS)], 402 + 18 * place
        band = path(np.append(labels, labels[::-1]), np.append(mean + error, (mean - error)[::-1]))
        parts.append(f'<polygon points="{band}" fill="{colour}" opacity="0.15"/>')
        parts.append(
            f'<polyline points="{path(labels, mean)}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        parts.append(f'<path d="M60 {below - 4}h24" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="92" y="{below}">{escape(name)}</text>')
    axes = (
        '<path d="M60 25V340H805" fill="none" stroke="#888"/><text x="430" y="378" text-anchor="middle">labels</text>'
        '<text x="60" y="16" text-anchor="middle">accuracy</text>'
    )
    style = (
        f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 820 {395 + 18 * len(drawn)}" font-family="sans-serif" '
        'font-size="12" fill="#808080"'
    )
    return f'<svg {style} role="img" aria-label="accuracy against labels">{axes}{"".join(parts)}</svg>\n'


def html(found: Row, picture: str) -> str:
    """The same as one page that needs nothing else, in light, dark and print, looking as the report does."""
    control = f"<h2>{CONTROL}</h2>{page.table(CONTROL_HEAD, control_cells(found))}<p>{escape(CONTROL_NOTE)}</p>"
    notes = "".join(f"<li>{escape(note)}</li>" for note in found["notes"])
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Backtest</title>'
        f'<meta name="viewport" content="width=device-width"><style>{page.STYLE}</style></head><body><h1>Backtest</h1>'
        f"<p><b>{escape(found['decision']['said'])}</b></p>{page.table(HEAD, cells(found))}"
        f"{picture}{control if found['control'] else ''}<ul>{notes}</ul></body></html>\n"
    )
