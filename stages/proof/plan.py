"""The proof planned: how many control labels and judge rows a saving takes to be seen."""

from __future__ import annotations

import math

import numpy as np

from stages.contract.arrays import Ints
from stages.contract.params import Params
from stages.proof.course import Course, scatter
from stages.proof.gap import FIRST_LABELS, any_look
from stages.proof.powered import power


def judges_to_show(done: Course, truth: Ints) -> int | None:
    """How many judge rows would prove at any look that the active arm is ahead over the course.

    truth: (n_pool,) the classes of the course's pool rows, which a backtest knows. None where the
    active arm is not ahead, or not by more than draws of labels make: then control labels are what
    is missing, and no number of judge rows is enough. The variance is that of a draw with
    probabilities proportional to the models' disagreement. Source: Cochran, "Sampling techniques"
    (1977), sampling with probability proportional to size.
    """
    padded = np.concatenate([truth, np.zeros(len(done.rows) - done.pool, dtype=np.intp)])
    ahead = done.ahead(padded)[: done.pool]
    sizes = done.disagreement[: done.pool]
    apart = sizes > 0
    boundary = any_look(done.control)
    draws = scatter(done)
    left = float(ahead.mean()) ** 2 - draws.within(boundary) ** 2
    if not draws.error or ahead.mean() <= 0 or left <= 0:
        return None
    ratios = ahead[apart] / sizes[apart]
    beliefs = done.believed[: done.pool][apart] / sizes[apart]
    residual = ratios - power(ratios, beliefs) * beliefs
    chance = sizes[apart] / sizes.sum()
    spread = float(chance @ residual**2 - (chance @ residual) ** 2)
    of_one_row = spread * float(sizes.sum() / done.pool) ** 2
    return max(1, math.ceil(boundary**2 * of_one_row / left))


def control_to_show(labels: float, saved: float | None, reach: float | None) -> float | None:
    """About how many control labels would show a saving at any look.

    labels: of the control arm that measured it; reach: how far its interval reaches below it. An
    interval shrinks about with the square root of the labels. None where it is not known.
    """
    if saved is None or reach is None or saved <= 0 or reach <= 0:
        return None
    return labels * (reach / saved) ** 2


SUPPOSED = 0.2  # the share of the pool on which the arms' models are supposed to disagree
GAPS = (0.05, 0.1)  # gaps in accuracy that a plan is made for


def judges_for(gap: float, apart: float, control: int) -> int:
    """How many judge rows show a gap at any look, if the draw of labels were known; at most.

    gap: active minus random accuracy; apart: the share of the pool on which their models disagree;
    control: control labels. A row on which they disagree is right for one arm or the other (or for
    neither), so the variance of one judge row is at most 1 - (gap / apart)².
    """
    variance = apart**2 - gap**2
    return max(1, math.ceil(any_look(control) ** 2 * variance / gap**2))


def planned(params: Params) -> str:
    """What the proof will take, said before the first batch."""
    batch = params.query.batch_size
    control = math.floor(batch * params.query.control_fraction + 0.5)
    if not control:
        return "proof: no row is drawn at random (query.control_fraction: 0), so nothing is proven"
    first = math.ceil(FIRST_LABELS / control)
    said = f"proof: {control} of {batch} rows a round are drawn at random, {FIRST_LABELS} by round "
    said += f"{first}, from where it can tell; "
    judges = [judges_for(gap, SUPPOSED, 2 * FIRST_LABELS) for gap in GAPS]
    counts = " and ".join(
        f"{rows} judge rows show a gap of {gap:.0%}" for rows, gap in zip(judges, GAPS, strict=True)
    )
    said += f"at most {counts}, where the arms' models disagree on {SUPPOSED:.0%} of the pool and "
    said += "the draw of labels allows it (validate.judge_rows, docs/proof.md); "
    return said + "what your data takes: `rounds backtest` on labelled rows like yours"
