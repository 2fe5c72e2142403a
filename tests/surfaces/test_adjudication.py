"""Rows that people disagree on, and the word that ends it."""

from __future__ import annotations

import pytest

from rounds.adjudicate import is_disputed
from rounds.surfaces import page
from stages.answers.standing import Case, Vote
from stages.contract.canonical import Row
from stages.contract.errors import PipelineError
from stages.contract.params import load
from tests.conftest import ROOT
from tests.surfaces.conftest import MakeProject
from tests.surfaces.test_page_http import _Board, browse

GATE = load(ROOT / "params.yaml").gate
OWNER = {"authorization": "Bearer own3r"}


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ([Vote(1, "ann", "label", "a"), Vote(1, "bo", "label", "b")], True),
        ([Vote(0, "", "label", "a"), Vote(2, "bo", "label", "b")], True),
        ([Vote(1, "ann", "label", "a"), Vote(1, "bo", "skip", "")], False),
        ([Vote(1, "ann", "label", "a"), Vote(2, "ann", "label", "a")], False),
        (
            [
                Vote(1, "ann", "label", "a"),
                Vote(1, "bo", "label", "b"),
                Vote(2, "cy", "override", "a"),
            ],
            False,
        ),
        (
            [
                Vote(1, "ann", "label", "a"),
                Vote(1, "bo", "label", "b"),
                Vote(2, "bo", "withdraw", "", corrects=True, since=1),
            ],
            False,
        ),
        ([Vote(1, "ann", "label", "a"), Vote(1, "boss", "label", "b")], False),
    ],
)
def test_a_row_is_disputed_until_somebody_who_may_has_decided(
    votes: list[Vote], *, expected: bool
) -> None:
    policy = GATE.model_copy(update={"adjudicator": "boss"})
    assert is_disputed(Case("q", votes), policy) is expected


class _Bench:
    """A bench with one row, that notes what is decided."""

    def __init__(self) -> None:
        self.decided: list[tuple[str, str, str]] = []

    def shown(self) -> Row:
        return {"labels": ["a"], "rows": [{"id": "q<1>"}]}

    def picture(self, item: str) -> object:  # noqa: ARG002 - as the protocol names it
        return None

    def decide(self, item: str, label: str, why: str) -> str:
        if label != "a":
            raise PipelineError("LABEL", "no such label", "choose another")
        self.decided.append((item, label, why))
        return "boss"


def test_decisions_go_through_under_the_owners_token_alone(make_project: MakeProject) -> None:
    bench = _Bench()
    view = page.OwnersView("own3r", _Board, bench)
    browser = browse(make_project, owner=view)
    assert browser("GET", "/owner/disputed").status_code == 401
    assert browser("GET", "/owner/disputed", headers=OWNER).status_code == 200
    assert browser("GET", "/owner/disputed/disputed.js", headers=OWNER).status_code == 200
    rows = browser("GET", "/owner/disputed/rows", headers=OWNER).json()
    assert rows["rows"] == [{"id": "q<1>"}]
    said = {"id": "q<1>", "label": "a", "why": "the guideline says so"}
    assert browser("POST", "/owner/disputed/decide", json=said).status_code == 401
    assert bench.decided == []
    done = browser("POST", "/owner/disputed/decide", headers=OWNER, json=said)
    assert done.json() == {"by": "boss"}
    assert bench.decided == [("q<1>", "a", "the guideline says so")]
    wrong = browser("POST", "/owner/disputed/decide", headers=OWNER, json={**said, "label": "c"})
    assert (wrong.status_code, wrong.json()["error"]) == (
        409,
        "LABEL: no such label; choose another",
    )
    odd = browser("POST", "/owner/disputed/decide", headers=OWNER, json={**said, "more": 1})
    assert odd.status_code == 400
    assert browser("GET", "/owner/disputed/picture?id=q", headers=OWNER).status_code == 404
