"""What judges a round: the proof's alarms, the gate's checks, the signs to stop."""

from __future__ import annotations

from handbook.markdown import code, table
from rounds.shipped import shipped_params
from stages.proof.alarms import CHECKS as ALARMS
from stages.proof.stopping import SIGNS
from stages.quality.checks import CHECKS, held_round
from stages.quality.gold import gold_alarms

HELD = held_round("?", [], {})[0]  # V006 and V010 are the gate's own
GOLD = gold_alarms(
    {"?": {"answers": 1, "right": 0, "no_label": 0, "low": 0.0, "high": 0.0, "since": 1}}, 1.0
)[0]


def alarms_table() -> list[str]:
    """One row an alarm."""
    titles = {name: title for name, (title, _) in ALARMS.items()}
    titles |= {str(alarm["code"]): str(alarm["title"]) for alarm in (HELD, GOLD)}
    return table(("code", "rings when"), [(code(name), titles[name]) for name in sorted(titles)])


def checks_table() -> list[str]:
    """One row a check of the gate, with the limit of a new project."""
    params = shipped_params().gate
    rows = [
        (
            code(check.code),
            check.title,
            f"{check.bound} {code(getattr(params.limits, check.name))}",
            code(f"gate.limits.{check.name}"),
            "yes" if check.code in params.hold else "",
            check.remedy,
        )
        for check in CHECKS
    ]
    return table(("code", "measures", "passes", "param", "holds the round", "if it fails"), rows)


def signs_table() -> list[str]:
    """One row a sign of the stopping panel."""
    rows = [(sign.name, f"{'≥' if sign.at_least else '≤'} {code(sign.limit)}") for sign in SIGNS]
    return table(("sign", "says stop at"), rows)
