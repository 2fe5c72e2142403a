"""What the page shows, as JSON: cards, the history, and what is said where there is no card.

Of an item that is its content and its place in the batch: not its score, its arm, its file name,
or what a model thinks.
"""

from __future__ import annotations

from rounds.surfaces.desk import Desk, Said, Session
from rounds.surfaces.series import Series
from stages.contract.canonical import Row

_WORDS = {"skip": "skipped", "reject": "rejected", "empty": "accepted without a label"}


def shown_content(task: Row) -> Row:
    """The content of a task and nothing else of it; fields in the order of the table."""
    shown: Row = {"text": task.get("text"), "image": "image" in task, "fields": None}
    fields = task.get("fields")
    if isinstance(fields, dict):
        # The text has a line `name: value` for each field, in the table's order; JSON sorts them.
        lines = f"\n{task.get('text')}"
        ordered = sorted(fields.items(), key=lambda field: lines.find(f"\n{field[0]}: "))
        shown["fields"] = [[str(name), str(value)] for name, value in ordered]
    return shown


def shown_item(desk: Desk, session: Session, position: int) -> Row:
    """A card: content, this session's standing answer, and the key that an answer must replace."""
    said = session.said.get(position)
    return {
        **shown_content(desk.tasks[position]),
        "position": position,
        "key": session.keys.get(position, ""),
        "answer": said.answer.kind if said else None,
        "label": said.answer.label if said else None,
        "flagged": said.answer.flagged if said else False,
        "note": said.note if said else "",
    }


def shown_past(desk: Desk, said: Said) -> Row:
    """A line of the history."""
    content = shown_content(desk.tasks[said.position])
    return {
        "position": said.position,
        "key": said.key,
        "image": content["image"],
        "text": (content["text"] or "")[:80],
        "said": said.answer.label or _WORDS.get(said.answer.kind, said.answer.kind),
        "flagged": said.answer.flagged,
        "note": said.note,
    }


def shown_state(series: Series, name: str) -> Row:
    """All that the page shows to a session of the desk that serves."""
    desk = series.desk
    session = desk.session(name)
    notice = series.notice()
    position = None if notice.blocks else desk.current(session)
    return {
        "session": session.name,
        "batch": desk.batch,
        "labels": desk.shown_labels,
        "pace": session.pace(),
        "card": None if position is None else shown_item(desk, session, position),
        "history": [shown_past(desk, said) for said in desk.history(session)],
        "finished": desk.finished,
        "total": len(desk.tasks),
        "mine": len(session.said),
        "notice": {"title": notice.title, "text": notice.text, "busy": notice.busy},
    }
