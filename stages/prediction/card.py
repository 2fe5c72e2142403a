"""The model card: what the model was taught, how good it is, and what it must not be used for.

Source of the form: Mitchell et al., "Model cards for model reporting" (2019).
"""

from __future__ import annotations

from stages.contract.canonical import Row
from stages.learning.scoring import wilson
from stages.prediction.predictor import PredictorFacts
from stages.store.words import PACKAGE, VERSION

TRUST = {
    "trusted": "Its probabilities mean what they say",
    "lying": "Its probabilities do not mean what they say",
    "unknown": "Nobody knows yet whether its probabilities mean what they say",
}


def card(facts: PredictorFacts, proof: Row, confusion: list[Row]) -> str:
    """The card of a predictor, in Markdown.

    facts: predictor.json; proof: what validate found; confusion: how many test rows of each class
    (actual) were given to each class (predicted), empty without a test set.
    """
    name = facts["model"]["path"].rpartition(".")[2]
    lines = [
        "# Model card",
        "",
        f"{name} on {facts['features']['kind']} features, for {len(facts['classes'])} classes.",
        f"It learnt from {facts['labels']} labels, up to round {facts['round']}.",
        "The commit that holds this file holds the labels, the parameters and the code.",
        *_words(facts),
        "",
        "## What it was taught",
        "",
        "| class | labels | recall (95 %) | precision (95 %) |",
        "|---|---|---|---|",
    ]
    for label, count in facts["per_class"].items():
        hits = sum(row["count"] for row in confusion if label == row["actual"] == row["predicted"])
        actual = sum(row["count"] for row in confusion if row["actual"] == label)
        predicted = sum(row["count"] for row in confusion if row["predicted"] == label)
        recall = _share(hits, actual)
        lines.append(f"| {_cell(label)} | {count} | {recall} | {_share(hits, predicted)} |")
    lines += ["", "## How good it is", "", *_quality(facts, proof), "", "## Limits", ""]
    lines += [f"- {line}" for line in _limits(facts)]
    return "\n".join(lines) + "\n"


def _words(facts: PredictorFacts) -> list[str]:
    """How much word vectors count, where the model sees them."""
    if "word_weight" not in facts:
        return []
    weight = facts["word_weight"]
    how_much = "the labels gave them no weight"
    if weight:
        how_much = f"they weigh {weight:g} where n-grams weigh 1"
    source = f"word vectors of {PACKAGE} {VERSION} (MIT licence)"
    limits = "They know English best, and were learnt from texts that nobody here has seen."
    return [f"Beside n-grams it sees {source}: {how_much}. {limits}"]


def _quality(facts: PredictorFacts, proof: Row) -> list[str]:
    """Accuracy with its interval, and whether confidence is to be trusted."""
    shipped = proof.get("shipped")
    if not facts["fitted"]:
        return ["There is no model yet: the labels are of fewer than two classes."]
    if shipped:
        measured = "on the test set, which it has never seen"
        lines = [_accuracy(shipped, measured), f"Macro F1 {shipped['macro_f1']:.3f}."]
    elif proof.get("random"):
        measured = "cross-validated on the labels drawn at random, by models of these alone"
        lines = [_accuracy(proof["random"], measured), "There is no test set."]
    else:
        lines = ["It was not measured: there is no test set, and no label was drawn at random."]
    calibration = facts["calibration"]
    lines.append(f"{TRUST[calibration['verdict']]}: {calibration['why']}.")
    return lines


def _limits(facts: PredictorFacts) -> list[str]:
    """What its user has to know."""
    limits = [
        "It knows its classes alone: a row of another kind is given to one of them all the same.",
        "Of a row that is marked as unlike anything labelled, its probability is a guess.",
        "Its figures hold for rows that are drawn as the pool was, not for other sources or times.",
    ]
    if "machine_columns" in facts:
        limits.insert(
            0,
            "It learned with a machine's answers beside each row, and the figures are with them. "
            "Rows to come have none: on those it is less right than the figures say.",
        )
    missing = [label for label, count in facts["per_class"].items() if not count]
    if missing:
        names = ", ".join(missing)
        limits.insert(0, f"It has never seen a label of {names}, and never predicts it.")
    return limits


def _accuracy(row: Row, measured: str) -> str:
    """Accuracy with its interval, and how it was measured."""
    interval = f"95 % interval {row['low']:.3f} to {row['high']:.3f}"
    return f"Accuracy {row['accuracy']:.3f} ({interval}), {measured}."


def _share(hits: int, trials: int) -> str:
    """A share with its 95 % interval."""
    if not trials:
        return "not measured"
    low, high = wilson(hits, trials)
    return f"{hits / trials:.3f} ({low:.2f} to {high:.2f})"


def _cell(text: str) -> str:
    """A text that cannot break a table of Markdown."""
    return " ".join(text.replace("|", r"\|").split())
