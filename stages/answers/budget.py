"""The labelling budget, which counts answers: a row that several people label takes several."""

from __future__ import annotations

from stages.contract.params import Params


def answers_left(params: Params, answers: int) -> int | None:
    """How many answers may still be asked for after `answers` of them; None for no limit.

    Every row wants `surface.annotations_per_item` of them: what is left over for less than a row
    is not counted, because no row can be asked for it.
    """
    if params.query.budget is None:
        return None
    per_row = params.surface.annotations_per_item
    return max(0, params.query.budget - answers) // per_row * per_row
