"""The labels that the model doubts, given all that is known by a round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stages.answers.ledger import Doubt, Suspect
from stages.answers.standing import Case, Standing, exempt, in_force, labels_in_force, reviewed
from stages.contract.arrays import Floats, Mask
from stages.contract.params import Gate, Params
from stages.quality.judgement import (
    Issue,
    Judgement,
    LabelledRows,
    issue_rows,
    judge,
    reasons_of,
    suspect_rows,
    with_annotators,
)
from stages.quality.machine_witness import NOT_ASKED, MachineEvidence
from stages.quality.policy import choose_doubts, reviewed_shift, shifted
from stages.store.index import Features


@dataclass(frozen=True)
class ModelDoubts:
    """The doubted labels, and what the doubts rest on.

    review             the doubted labels
    issues             every judged label with all its scores
    error              id -> probability that its label is wrong, for labels that could be judged,
                       corrected by `shift`
    shift              how past doubts ended, as a shift of the log odds of error
    annotator_quality  name -> quality in [0, 1]; empty while annotators cannot be weighed
    machine            what people's labels say of the machine annotator that may be a witness
    """

    review: list[Doubt]
    issues: list[Issue]
    error: dict[str, float]
    shift: float
    annotator_quality: dict[str, float]
    machine: MachineEvidence = NOT_ASKED


def doubts_of_seed(suspects: list[Suspect]) -> ModelDoubts:
    """The doubts that clean_seed had, which hold until the first round is answered."""
    return ModelDoubts([{**row, "asks": 1} for row in suspects], [], {}, 0.0, {})


def doubt_labels(
    labelled: list[Case],
    standings: dict[str, Standing],
    features: Features,
    upto: int,
    params: Params,
    said: Mapping[str, Mapping[str, float]] | None = None,
) -> ModelDoubts:
    """The labels that are likelier wrong than a review is worth, unless people confirmed them.

    Error probabilities come from the model and the other witnesses and, where several people
    labelled a row, from all their votes; and they are corrected by how past doubts ended. said: how
    sure the machine annotator that may be a witness is of each class, by id; None without one.
    """
    names = params.labels
    rows = _labelled_rows(labelled, standings, features, names, said)
    judgement, quality = _judge(rows, labelled, upto, params)
    reasons = reasons_of(judgement)
    scores, wrong = _ends_of_doubts(labelled, upto)
    shift = reviewed_shift(scores, wrong)
    error = shifted(judgement.errors.probability, shift)
    chosen = choose_doubts(
        judgement,
        rows,
        params,
        share=params.gate.max_quarantine,
        reviews=params.reviews_a_batch,
        error=error,
        may_doubt=_doubtable(labelled, standings, reasons, upto, params.gate),
    )
    suspects = suspect_rows(rows, judgement, np.flatnonzero(chosen), names)
    review: list[Doubt] = [
        {**suspect, "asks": times_asked(labelled[row], upto)}
        for suspect, row in zip(suspects, np.flatnonzero(chosen), strict=True)
    ]
    issues = issue_rows(rows.ids, rows.labels, judgement, names)
    judged = np.flatnonzero(judgement.errors.judged)
    error_by_id = {rows.ids[row]: float(error[row]) for row in judged}
    return ModelDoubts(review, issues, error_by_id, shift, quality, judgement.machine)


def _labelled_rows(
    labelled: list[Case],
    standings: dict[str, Standing],
    features: Features,
    names: list[str],
    said: Mapping[str, Mapping[str, float]] | None,
) -> LabelledRows:
    """Features, present label and a machine's word of every labelled case, in their order."""
    ids = [case.id for case in labelled]
    rows = features.index.locate(ids, "labels")
    class_of = {name: number for number, name in enumerate(names)}
    classes = np.array([class_of[str(standings[item].label)] for item in ids], dtype=np.intp)
    sha = [features.index.sha[row] for row in rows]
    word = None
    if said is not None:
        sure = [[said.get(item, {}).get(name, 0.0) for name in names] for item in ids]
        word = np.array(sure, dtype=np.float64).reshape(-1, len(names))
    return LabelledRows(features.matrix[rows], features.geometry[rows], classes, ids, sha, word)


def _judge(
    rows: LabelledRows, labelled: list[Case], upto: int, params: Params
) -> tuple[Judgement, dict[str, float]]:
    """The witnesses' judgement, by all votes where there are several, and annotators' quality."""
    judgement = judge(rows, params)
    if not judgement.errors.judged.any():
        return judgement, {}
    class_of = {name: number for number, name in enumerate(params.labels)}
    votes_by_row = [
        {
            vote.annotator: class_of[vote.label]
            for vote in labels_in_force(case, upto)
            if vote.kind == "label"
        }
        for case in labelled
    ]
    return with_annotators(judgement, votes_by_row, rows.labels)


def _ends_of_doubts(labelled: list[Case], upto: int) -> tuple[Floats, Mask]:
    """The error probability of each doubt that people decided, (n,), and whether they agreed.

    Only doubts of the model: a conflict of copies is none, nor is a disagreement of people.
    """
    ended = [
        (float(doubt["score"]), not confirmed)
        for case in labelled
        for doubt, confirmed in reviewed(case, upto)
        if confirmed is not None and "label_error" in doubt["reasons"]
    ]
    scores = np.array([score for score, _ in ended])
    return scores, np.array([wrong for _, wrong in ended], np.bool_)


def times_asked(case: Case, upto: int) -> int:
    """How often people were asked in earnest: every round in which somebody answered, and the seed.

    A round that was closed before anybody came to the row does not count.
    """
    return len({vote.round for vote in in_force(case, upto)})


def _doubtable(
    labelled: list[Case],
    standings: dict[str, Standing],
    reasons: list[str],
    upto: int,
    policy: Gate,
) -> Mask:
    """(n,) whether each label may be doubted for its reason."""
    return np.array(
        [
            _may_be_doubted(case, standings[case.id], reason, upto, policy)
            for case, reason in zip(labelled, reasons, strict=True)
        ],
        np.bool_,
    )


def _may_be_doubted(case: Case, stands: Standing, reason: str, upto: int, policy: Gate) -> bool:
    """It may not after an override, a confirmation, or the last ask with two people agreeing.

    Nor may a label whose class was split: it is asked again for that.
    """
    agreeing = sum(vote.label == stands.label for vote in stands.votes)
    settled = times_asked(case, upto) >= policy.max_asks and agreeing >= 2
    if stands.why != "votes" or settled or stands.among:
        return False
    return reason not in exempt(case, str(stands.label), upto)
