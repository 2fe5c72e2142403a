"""What each fraction of the control arm costs, and what a project would know by it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

from rounds.backtest.loops import ControlFacts
from rounds.backtest.variants import Variant
from rounds.backtest.verdict import Paired, paired
from stages.proof.plan import control_to_show
from stages.proof.tables import Gap, Saving


class ControlRow(TypedDict):
    """A variant with a control arm; values are medians over repeats, None where not known.

    costs: mean accuracy along the curve against the smallest fraction tried, None for that one.
    labels: of the control arm. gap_known_to: half of the 95 % interval of active - random.
    gap_shown, saving_shown: the share of repeats whose interval lies above 0. detects: the saving
    (labels) that reaches as far above 0 as the interval reaches below its middle. control_needed:
    control labels that would about show the saving; judges_needed: judge rows that would show one,
    None where no number of them would.
    """

    strategy: str
    fraction: float
    costs: Paired | None
    labels: float | None
    gap_known_to: float | None
    gap_shown: float
    saved: float | None
    detects: float | None
    saving_shown: float
    control_needed: float | None
    judges_needed: float | None


def smallest_control(chosen: Mapping[str, Variant]) -> dict[str, str]:
    """For each variant's name, that of the same variant with the smallest control arm."""
    smallest: dict[tuple[str, str, str, str], str] = {}
    kinds = {
        name: (variant.strategy, variant.features, variant.model, variant.calibration)
        for name, variant in chosen.items()
    }
    for name in sorted(chosen, key=lambda name: float(chosen[name].control or 0)):
        smallest.setdefault(kinds[name], name)
    return {name: smallest[kind] for name, kind in kinds.items()}


def control_rows(
    smallest: Mapping[str, str],
    proofs: Mapping[str, Sequence[ControlFacts]],
    areas: Mapping[str, Sequence[float]],
) -> list[ControlRow]:
    """A row for each variant with a control arm, the smallest fraction first.

    smallest: as `smallest_control` says. proofs, areas: by name, one per repeat.
    """
    rows: list[ControlRow] = []
    for name in sorted(proofs, key=lambda name: proofs[name][0]["fraction"]):
        costs = None
        if smallest[name] != name:
            costs = paired(np.array(areas[smallest[name]]) - np.array(areas[name]))
        gaps = [proof["gap"] for proof in proofs[name]]
        savings = [proof["saving"] for proof in proofs[name]]
        rows.append(
            ControlRow(
                strategy=name,
                fraction=proofs[name][0]["fraction"],
                costs=costs,
                labels=_median([gap["labels"] for gap in gaps]),
                gap_known_to=_median([_half_width(gap) for gap in gaps]),
                gap_shown=_share_shown(gaps),
                saved=_median([saving["saved"] for saving in savings]),
                detects=_median([_reach_below(saving) for saving in savings]),
                saving_shown=_share_shown(savings),
                control_needed=_median([_control_needed(saving) for saving in savings]),
                judges_needed=_judges_needed(proofs[name]),
            )
        )
    return rows


def _judges_needed(proofs: Sequence[ControlFacts]) -> float | None:
    """The median over the repeats that planned judge rows; None where none did."""
    planned = [proof["judges"] for proof in proofs if "judges" in proof]
    return _median(planned) if planned else None


def _half_width(gap: Gap) -> float | None:
    """Half of an interval of any look, None where there is none."""
    low = gap["any_look"]["low"]
    high = gap["any_look"]["high"]
    return None if low is None or high is None else (high - low) / 2


def _reach_below(saving: Saving) -> float | None:
    """How far the interval of a saving reaches below it, None where that is not known."""
    low = saving["any_look"]["low"]
    if low is None or saving["saved"] is None:
        return None
    return saving["saved"] - low


def _control_needed(saving: Saving) -> float | None:
    """About how many control labels would show a saving, None where that is not known."""
    return control_to_show(saving["labels"], saving["saved"], _reach_below(saving))


def _median(values: Sequence[float | None]) -> float | None:
    """The median; what is not known counts as infinite, and an infinite median is None."""
    middle = float(np.median([math.inf if value is None else value for value in values]))
    return middle if math.isfinite(middle) else None


def _share_shown(intervals: Sequence[Gap | Saving]) -> float:
    """The share of intervals of any look that lie above 0."""
    lows = [row["any_look"]["low"] for row in intervals]
    return float(np.mean([low is not None and low > 0 for low in lows]))
