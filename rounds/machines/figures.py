"""What is said of machine annotators in status, report and `rounds machines`."""

from __future__ import annotations

from stages.contract.canonical import Row
from stages.contract.params import NO_TABLE, Params

Cells = list[list[str]]
HEAD = ("machine", "labels", "right [any look]", "covers", "cost of a right label", "for a person?")


def machine_lines(figures: Row) -> list[str]:
    """A few lines for each machine. figures: metrics/machines.json."""
    lines = []
    for name, facts in figures.get("machines", {}).items():
        lines.append(f"{name}: {facts['labels']} labels of {facts['answers']} answers")
        lines.append(f"  right    {right_words(facts)}")
        lines.append(f"  covers   {_covered(facts['control'])}")
        if facts["test"] and facts["test"]["covered"]:
            lines.append(f"  on test  {_on_test(facts['test'])}")
        lines += [f"  {line}" for line in _more(facts)]
    lines.append(
        "next: docs/machines.md says what a machine may do; nothing is switched on by itself"
    )
    return lines


def status_lines(figures: Row) -> list[str]:
    """A line of `rounds status` for each machine. figures: metrics/machines.json, or nothing."""
    return [
        f"machine  {name}: right {right_words(facts)}"
        for name, facts in figures.get("machines", {}).items()
    ]


def uses(params: Params) -> list[str]:
    """A line for each thing that a machine is allowed to do here, so that none works unseen."""
    machines = params.machines
    lines = []
    if machines.are_features:
        what = f"the classifier sees the answers of {machines.features}"
        lines.append(f"machine  {what} (machines.features)")
    if machines.cold_start != NO_TABLE:
        what = f"{machines.cold_start} says where to begin, until there is a model"
        lines.append(f"machine  {what} (machines.cold_start)")
    if machines.is_witness:
        what = f"the gate may hear {machines.witness} as a witness"
        lines.append(f"machine  {what} (machines.witness)")
    return lines


def _more(facts: Row) -> list[str]:
    """Lines that not every machine has: its worst class, confidence, price, people, its curve."""
    lines = []
    worst = worst_class(facts)
    if worst:
        lines.append(f"worst    {worst}")
    calibration = facts["calibration"]
    if calibration:
        said = f"it says {calibration['mean']:.3f} on average and is right in"
        lines.append(f"surety   {said} {calibration['right']:.3f} (ECE {calibration['ece']:.3f})")
    if facts["cost"]:
        lines.append(f"cost     {cost_words(facts)} a right label")
    lines.append(f"person   {stands_for_a_person(facts)}")
    alone = facts["alone"]
    if alone["best"] is not None:
        lines.append(f"alone    {alone_words(alone)}")
    return lines


def right_words(facts: Row) -> str:
    """Its accuracy on control rows with the interval of any look, or that nobody knows it."""
    control = facts["control"]
    if control["accuracy"] is None:
        return "not known: no control row has its label and a person's"
    interval = f"[{control['low']:.3f}, {control['high']:.3f}]"
    return f"{control['accuracy']:.3f} {interval} on {control['covered']} control rows"


def _on_test(test: Row) -> str:
    interval = f"[{test['low']:.3f}, {test['high']:.3f}]"
    return f"{test['accuracy']:.3f} {interval} of {test['covered']} rows, looked at once"


def _covered(control: Row) -> str:
    if control["coverage"] is None:
        return "not known: there are no control rows"
    return f"{control['coverage']:.0%} of the control rows"


def worst_class(facts: Row) -> str:
    """The class of which it misses most on control rows; "" where none can be judged."""
    judged = [(row["recall"], name) for name, row in facts["by_class"].items() if row["rows"]]
    if not judged:
        return ""
    recall, name = min(judged)
    row = facts["by_class"][name]
    return f"{name}: recall {recall:.3f} [{row['low']:.3f}, {row['high']:.3f}] of {row['rows']}"


def cost_words(facts: Row) -> str:
    """What a right label of it costs, with the interval of any look."""
    cost = facts["cost"]
    if not cost or cost["per_right"] is None:
        return "not known"
    high = "?" if cost["per_right_high"] is None else f"{cost['per_right_high']:.3g}"
    return f"{cost['per_right']:.3g} [{cost['per_right_low']:.3g}, {high}]"


def stands_for_a_person(facts: Row) -> str:
    """What the alternative annotator test says."""
    test = facts["alt_test"]
    if test["passes"] is None:
        return f"not judged: {test['why']}"
    verdict = "may stand for one" if test["passes"] else "may not stand for one"
    share = f"{test['winning_rate']:.0%} of {test['people']} people"
    return f"{verdict}: it holds its own against {share}"


def alone_words(alone: Row) -> str:
    """Where people's labels teach more than all of the machine's."""
    best = f"a model of its labels alone is {alone['best']:.3f} right"
    if alone["labels"] is None:
        return f"{best}; people's labels have not got there yet"
    return f"{best}; people's labels, well chosen, got there with {alone['labels']}"


def machine_rows(figures: Row) -> Cells:
    """A row of the report for each machine, under HEAD."""
    return [
        [
            name,
            str(facts["labels"]),
            right_words(facts),
            _covered(facts["control"]),
            cost_words(facts),
            stands_for_a_person(facts),
        ]
        for name, facts in figures.get("machines", {}).items()
    ]
