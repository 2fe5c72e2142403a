"""The tables of a backtest as text, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Sequence

from rounds.backtest.control import ControlRow
from rounds.backtest.verdict import Paired, Summary, VariantFacts
from rounds.pages import render

HEAD = (
    "strategy",
    "area",
    "gain over random",
    "win/tie/loss",
    "P(better)",
    "labels to target",
    "saving",
)
OF_ORACLE = "of the oracle"
CONTROL = "What the control arm tells"
CONTROL_HEAD = (
    "strategy",
    "control",
    "costs",
    "its labels",
    "gap known to",
    "gap shown",
    "labels saved",
    "least to show",
    "shown",
    "control labels to show it",
    "judge rows to show it",
)
CONTROL_NOTE = (
    "What validate would say where these loops end, by the held-out rows (medians; a project "
    "without a test set knows less). costs: mean accuracy, against the smallest fraction. "
    "gap known to: half of the 95 % interval of active - random. least to show: a smaller saving "
    "would not be surely above 0. shown: repeats in which it was. To show it at any look: about so "
    "many control labels at equal labels; or so many judge rows over the course of these control "
    "labels (docs/proof.md), not known where no number of them is enough."
)


class Results(Summary):
    """summary.json: what all variants and their control arms tell, and notes for the reader."""

    control: list[ControlRow]
    notes: list[str]


def cells(strategies: Sequence[VariantFacts]) -> list[tuple[str, ...]]:
    """The rows of the table, best first, as text."""
    best_first = sorted(strategies, key=lambda facts: -facts["area"]["accuracy"])
    rows = [variant_cells(facts) for facts in best_first]
    if head(strategies) == HEAD:
        return rows
    shares = [share_text(facts["of_oracle"]) for facts in best_first]
    return [(*row, share) for row, share in zip(rows, shares, strict=True)]


def head(strategies: Sequence[VariantFacts]) -> tuple[str, ...]:
    """The columns of the table; the last one is there where an oracle was run."""
    has_oracle = any(facts["of_oracle"] is not None for facts in strategies)
    return (*HEAD, OF_ORACLE) if has_oracle else HEAD


def share_text(share: float | None) -> str:
    """A share in percent, `-` for none."""
    return "-" if share is None else f"{share:.0%}"


def variant_cells(facts: VariantFacts) -> tuple[str, ...]:
    """One row of the table; random sampling itself has no gain and no saving."""
    gain = facts["gain"]["accuracy"] if facts["gain"] else None
    counts = "-"
    chance = "-"
    saving = "-"
    if gain is not None:
        counts = f"{gain['wins']}/{gain['ties']}/{gain['losses']}"
        saving = saving_text(facts)
        if gain["superior"] is not None:
            chance = f"{gain['superior']:.3f}"
    labels = facts["labels_to_target"]
    reached = "not reached" if labels is None else f"{labels:.0f}"
    area = f"{facts['area']['accuracy']:.4f}"
    return (facts["strategy"], area, difference(gain), counts, chance, reached, saving)


def saving_text(facts: VariantFacts) -> str:
    """How many times as many labels random needs, with its interval where that is known."""
    if facts["saving_factor"] is None:
        return "-"
    if facts["saving_low"] is None:
        return f"{facts['saving_factor']:.2f}x"
    interval = f"[{facts['saving_low']:.2f}, {facts['saving_high']:.2f}]"
    return f"{facts['saving_factor']:.2f}x {interval}"


def control_cells(rows: Sequence[ControlRow]) -> list[tuple[str, ...]]:
    """The rows of the control arm's table as text."""
    return [
        (
            row["strategy"],
            f"{row['fraction']:g}",
            difference(row["costs"]),
            f"{row['labels']:.0f}",
            "not known" if row["gap_known_to"] is None else f"± {row['gap_known_to']:.3f}",
            f"{row['gap_shown']:.0%}",
            whole_number(row["saved"]),
            whole_number(row["detects"]),
            f"{row['saving_shown']:.0%}",
            whole_number(row["control_needed"]),
            whole_number(row["judges_needed"]),
        )
        for row in rows
    ]


def whole_number(value: float | None) -> str:
    """A number of labels, or that it is not known."""
    return "not known" if value is None else f"{round(value)}"


def difference(gap: Paired | None) -> str:
    """A paired difference with its standard error, `-` for none."""
    if gap is None:
        return "-"
    if gap["standard_error"] is None:
        return f"{gap['mean']:+.4f}"
    return f"{gap['mean']:+.4f} ± {gap['standard_error']:.4f}"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, aligned to be read as it stands."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in [head, *rows]
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def plain_text(results: Results, picture: str = "") -> str:
    """The tables and the notes; picture: Markdown that stands after the first table."""
    strategies = results["strategies"]
    parts = [markdown_table(head(strategies), cells(strategies)), picture]
    if results["control"]:
        table = markdown_table(CONTROL_HEAD, control_cells(results["control"]))
        parts += [f"## {CONTROL}", table, CONTROL_NOTE]
    parts.append("\n".join(f"- {note}" for note in results["notes"]))
    return "\n\n".join(filter(None, parts))


def markdown(results: Results) -> str:
    """The decision, the tables and the curves as Markdown."""
    body = plain_text(results, "![Learning curves](curves.svg)")
    return f"# Backtest\n\n**{results['decision']['said']}**\n\n{body}\n"


def html(results: Results, picture: str) -> str:
    """The same as one page that needs nothing else. picture: the curves, as SVG."""
    return render(
        "backtest.html",
        title="Backtest",
        decision=results["decision"]["said"],
        head=head(results["strategies"]),
        rows=cells(results["strategies"]),
        picture=picture,
        control_title=CONTROL,
        control_head=CONTROL_HEAD,
        control_rows=control_cells(results["control"]),
        control_note=CONTROL_NOTE,
        notes=results["notes"],
    )
