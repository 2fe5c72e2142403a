"""Which doubted labels are worth asking again, rather than new rows."""

from __future__ import annotations

import numpy as np

from stages.answers.gate_tables import GateTables
from stages.answers.ledger import Doubt
from stages.batch.model import Model
from stages.contract.arrays import Floats, Ints
from stages.contract.params import Params
from stages.quality.agreement import relabel_or_new, vote_table, weighable
from stages.store.index import Index


def worth_review(
    gate: GateTables, index: Index, model: Model | None, free: Ints, params: Params
) -> list[Doubt]:
    """The doubted labels that are better questions than a batch's last new ones, the best first.

    Where annotators can be weighed, ActiveLab puts doubted labels and free pool rows on one scale,
    and a doubt waits when a whole batch of questions is better; ties go to the doubt, among doubts
    to the gate's order. Else: all doubts, in the gate's order.
    """
    votes_of = _votes_by_id(gate, params.labels)
    # ActiveLab learns how good annotators are from the accepted rows that several of them labelled
    several = [row for row, item in enumerate(gate.accepted.ids) if len(votes_of.get(item, ())) > 1]
    doubted = [doubt["id"] for doubt in gate.review]
    ids = [*doubted, *(gate.accepted.ids[row] for row in several)]
    votes = vote_table([votes_of.get(item, {}) for item in ids])[1]
    if model is None or not weighable(votes):
        return gate.review
    labelled = np.vstack([_beliefs(doubted, index, model), model.held_out[several]])
    scores, new = relabel_or_new(votes, labelled, model.pool[free])
    of_doubts = np.round(scores[: len(doubted)], 9)
    order = np.argsort(of_doubts, kind="stable")
    better_new = np.searchsorted(np.sort(np.round(new, 9)), of_doubts[order], side="left")
    better = better_new + np.arange(len(order))
    return [gate.review[row] for row in order[better < params.query.batch_size]]


def _votes_by_id(gate: GateTables, labels: list[str]) -> dict[str, dict[str, int]]:
    """Id -> annotator -> the class that this person gave it."""
    class_of = {label: number for number, label in enumerate(labels)}
    votes: dict[str, dict[str, int]] = {}
    for vote in gate.votes:
        votes.setdefault(vote["id"], {})[vote["annotator"]] = class_of[vote["label"]]
    return votes


def _beliefs(ids: list[str], index: Index, model: Model) -> Floats:
    """(n, k) the model's probabilities of some ids.

    All classes alike for a seed row, of which the model has no opinion: only its votes count.
    """
    k = model.pool.shape[1]
    beliefs = np.full((len(ids), k), 1 / k)
    for number, item in enumerate(ids):
        row = index.row_of[item]
        if index.split[row] == "pool":
            beliefs[number] = model.pool[row]
    return beliefs
