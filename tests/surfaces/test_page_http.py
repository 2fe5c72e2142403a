"""The page's server: what it tells the browser, and whom it refuses."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rounds.surfaces import page, shown
from rounds.surfaces.desk import Refused
from rounds.surfaces.label_help import LabelHelp
from rounds.surfaces.series import Series
from stages.answers import prodigy
from stages.contract.canonical import Row, dumps, read_jsonl
from tests.surfaces.conftest import LABELS, MakeProject

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


class Browser:
    """A client without a socket; every request is answered by the app in this process."""

    def __init__(self, app: Any, host: str = "127.0.0.1:8090") -> None:
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url=f"http://{host}"
        )

    def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        import asyncio

        return asyncio.run(self._client.request(method, path, **options))

    def answer(self, **changes: Any) -> httpx.Response:
        body = {
            "session": "ana",
            "batch": "b1",
            "position": 0,
            "answer": "accept",
            "label": "positive",
        }
        body |= {"flagged": False, "key": "12345678", "replaces": "", **changes}
        return self("POST", "/api/answer", json=body)


def browse(make_project: MakeProject, tasks: list[Row] | None = None, **options: Any) -> Browser:
    project = make_project(tasks=tasks)
    series = Series(project, project.last_round(), idle=600, clock=lambda: 1_700_000_000.0)
    given = {
        "guide": "",
        "images": project.root / "data",
        "hosts": frozenset(page.LOOPBACK),
        **options,
    }
    return Browser(page.app(series, **given))


@pytest.fixture
def browser(make_project: MakeProject) -> Iterator[Browser]:
    return browse(make_project)


def test_the_browser_is_told_nothing_of_score_arm_rank_id_or_file(
    make_project: MakeProject,
) -> None:
    tasks = [
        {
            **prodigy.task(
                {"text": "t"}, LABELS, al_id="SECRET-ID", batch_id="b1", rank=77, score=0.987
            ),
            "arm": "control",
        },
        {
            **prodigy.task({"text": "u"}, LABELS, al_id="s2", batch_id="b1", rank=78, score=0.1),
            "path": "cats/1.png",
        },
    ]
    browser = browse(make_project, tasks)
    browser.answer()
    told = browser("GET", "/api/state?session=ana").json()
    assert set(told["card"]) == {
        "text",
        "image",
        "fields",
        "position",
        "key",
        "answer",
        "label",
        "flagged",
        "note",
    }
    known = {"position", "key", "image", "text", "said", "flagged", "note"}
    assert set(told["history"][0]) == known
    for secret in ("SECRET", "987", "control", "77", "cats", "score", "rank", "arm"):
        assert secret not in json.dumps(told)


def test_any_text_reaches_the_browser_unchanged(make_project: MakeProject) -> None:
    odd = "<script>x</script> \ud800 \u200b \u202e أهلا\r\n\t\0 " + "y" * 100_000
    tasks = [prodigy.task({"text": odd}, LABELS, al_id="a", batch_id="b1", rank=1, score=0)]
    response = browse(make_project, tasks)("GET", "/api/state?session=ana")
    assert json.loads(response.content)["card"]["text"] == odd
    assert response.headers["content-type"] == "application/json"


def test_an_answer_is_saved_and_brings_the_next_card(browser: Browser) -> None:
    response = browser.answer()
    assert response.status_code == 200
    state = response.json()["state"]
    assert (state["card"]["position"], state["finished"], state["history"][0]["said"]) == (
        1,
        1,
        "positive",
    )
    again = browser.answer().json()["state"]
    assert again == state


def test_a_stale_tab_gets_409_and_the_true_state(browser: Browser) -> None:
    browser.answer()
    response = browser.answer(key="other-tab", label="negative")
    assert response.status_code == 409
    assert response.json()["state"]["history"][0]["said"] == "positive"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"label": "Positive"}, 400),
        ({"label": None}, 400),
        ({"session": ""}, 400),
        ({"session": "x" * 41}, 400),
        ({"position": 99}, 410),
        ({"position": -1}, 400),
        ({"position": "0"}, 400),
        ({"batch": "other"}, 410),
        ({"answer": "maybe"}, 400),
        ({"key": "no\nlines"}, 400),
        ({"key": ""}, 400),
        ({"surprise": 1}, 400),
    ],
)
def test_a_malformed_answer_is_refused_with_a_sentence(
    browser: Browser, changes: dict[str, Any], code: int
) -> None:
    response = browser.answer(**changes)
    assert response.status_code == code
    assert response.json()["error"]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"host": "evil.example:8090"}, 403),
        ({"host": ""}, 403),
        ({"host": "[::1"}, 400),
        ({"origin": "http://[x"}, 400),
        ({"host": "[::1]:8090"}, 200),
        ({"host": "localhost:9999"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:8090"}, 200),
        ({"origin": "http://127.0.0.1:9000"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
    ],
)
def test_other_sites_and_rebound_names_are_refused(
    browser: Browser, headers: dict[str, str], code: int
) -> None:
    assert browser("GET", "/api/state?session=ana", headers=headers).status_code == code


def test_a_form_of_another_site_cannot_post(browser: Browser) -> None:
    assert (
        browser(
            "POST", "/api/answer", content=b"{}", headers={"content-type": "text/plain"}
        ).status_code
        == 415
    )


def test_a_large_body_is_refused_with_or_without_its_length(browser: Browser) -> None:
    kind = {"content-type": "application/json"}
    assert browser("POST", "/api/answer", content=b"x" * 70_000, headers=kind).status_code == 413

    async def pieces() -> Any:
        for _ in range(100):
            yield b"x" * 1000

    assert browser("POST", "/api/answer", content=pieces(), headers=kind).status_code == 413


def test_every_response_carries_a_strict_policy(browser: Browser) -> None:
    for path in ("/", "/page.js", "/page.css", "/api/state?session=a", "/image/0", "/nowhere"):
        headers = browser("GET", path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_elsewhere_than_on_this_machine_a_token_is_demanded_and_becomes_a_cookie(
    make_project: MakeProject,
) -> None:
    browser = browse(make_project, hosts=frozenset(), token="s3cret")
    assert browser("GET", "/").status_code == 401
    assert browser("GET", "/api/state?session=ana").status_code == 401
    assert browser("GET", "/?token=wrong").status_code == 401
    assert browser("GET", "/", headers={"cookie": "labelrounds=wrong; ,;=;\x7f"}).status_code == 401
    assert browser("GET", "/", headers={"authorization": "Bearer s3cret"}).status_code == 200
    response = browser("GET", "/?token=s3cret&session=ana")
    assert response.status_code == 303
    assert response.headers["location"] == "/?session=ana"
    assert "HttpOnly" in response.headers["set-cookie"]
    assert browser("GET", "/api/state?session=ana").status_code == 200


def test_guidelines_are_markdown_without_raw_html(make_project: MakeProject) -> None:
    text = browse(
        make_project, guide="# Rules\n<script>alert(1)</script>\n\n- *one* [x](javascript:alert(1))"
    )("GET", "/").text
    assert "<h1>Rules</h1>" in text
    assert "<em>one</em>" in text
    assert "<script>alert" not in text
    assert 'href="javascript' not in text


def test_pictures_come_from_the_batch_or_the_folder_and_from_nowhere_else(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "a.png").write_bytes(PNG)
    (tmp_path / "outside.png").write_bytes(PNG)
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    assert page.picture("a.png", folder) == PNG
    assert page.picture("data:image/png;base64," + base64.b64encode(PNG).decode(), folder) == PNG
    for bad in (
        "../outside.png",
        str(tmp_path / "outside.png"),
        "link.png",
        "none.png",
        "",
        "a\0b",
        "http://x/y.png",
    ):
        with pytest.raises(Refused):
            page.picture(bad, folder)
    for bad in ("data:image/png;base64,***", None, 7):
        with pytest.raises(Refused):
            page.picture(bad, folder)


def test_a_picture_is_served_by_what_it_is_not_by_what_it_claims_to_be(
    make_project: MakeProject,
) -> None:
    uris = [
        "data:text/html;base64," + base64.b64encode(PNG).decode(),
        "data:image/png;base64," + base64.b64encode(b"<script>").decode(),
    ]
    tasks = [
        prodigy.task({"image": uri}, LABELS, al_id=str(n), batch_id="b1", rank=n, score=0)
        for n, uri in enumerate(uris)
    ]
    browser = browse(make_project, tasks)
    assert browser("GET", "/image/0?batch=b1").headers["content-type"] == "image/png"
    for path in (
        "/image/1?batch=b1",
        "/image/9?batch=b1",
        "/image/x?batch=b1",
        "/image/-1?batch=b1",
    ):
        assert browser("GET", path).status_code == 404
    assert browser("GET", "/image/0?batch=other").status_code == 410


def test_a_card_of_the_history_can_be_asked_for(browser: Browser) -> None:
    browser.answer()
    card = browser("GET", "/api/item?session=ana&position=0&batch=b1").json()
    assert (card["label"], card["key"], card["answer"]) == ("positive", "12345678", "label")
    assert browser("GET", "/api/item?session=ana&position=²&batch=b1").status_code == 404


def test_fields_stand_in_the_order_of_the_table() -> None:
    content = {"fields": {"f2": "1.5", "f10": "2", "f1": "f2: 3"}}
    told = prodigy.task(content, ["a", "b"], al_id="x", batch_id="b", rank=1, score=0)
    frozen = json.loads(dumps(told))  # as the round's file has it: keys sorted
    assert list(frozen["fields"]) == ["f1", "f10", "f2"]
    assert shown.shown_content(frozen)["fields"] == [["f2", "1.5"], ["f10", "2"], ["f1", "f2: 3"]]


class _Board:
    """A board that says who was looked for."""

    def people(self) -> list[str]:
        return ["ann"]

    def html(self, people: list[str]) -> str:
        return f"<p>{people[0]}</p>"


def test_the_owners_view_opens_with_its_own_token_alone_and_that_opens_nothing_else(
    make_project: MakeProject,
) -> None:
    view = page.OwnersView("own3r", _Board)
    browser = browse(make_project, hosts=frozenset(), token="s3cret", owner=view)
    annotators = {"authorization": "Bearer s3cret"}
    owners = {"authorization": "Bearer own3r"}
    for path in ("/owner", "/owner/board", "/owner/owner.js", "/owner/owner.css"):
        assert browser("GET", path).status_code == 401
        assert browser("GET", path, headers=annotators).status_code == 401
        assert browser("GET", path, headers=owners).status_code == 200
        assert browser("POST", path, headers=owners, json={}).status_code == 405
    assert browser("GET", "/owner/board", headers=owners).text == "<p>ann</p>"
    assert browser("GET", "/api/state?session=ana", headers=owners).status_code == 401
    response = browser("GET", "/owner?token=own3r")
    assert response.headers["location"] == "/owner?"
    assert "Path=/owner" in response.headers["set-cookie"]
    assert browser("GET", "/owner/board").status_code == 200  # by the cookie
    assert browser("GET", "/", headers=annotators).status_code == 200


def test_on_this_machine_the_owners_view_demands_its_token_too_and_no_page_links_to_it(
    make_project: MakeProject,
) -> None:
    browser = browse(make_project, owner=page.OwnersView("own3r", _Board))
    assert browser("GET", "/api/state?session=ana").status_code == 200
    assert browser("GET", "/owner/board").status_code == 401
    assert browser("GET", "/owner?token=wrong").status_code == 401
    told = browser("GET", "/").text + browser("GET", "/page.js").text
    assert "owner" not in told


def test_a_note_is_kept_in_the_row_of_its_answer_and_shown_again(browser: Browser) -> None:
    state = browser.answer(note=" blurred <b>\n ").json()["state"]
    assert state["history"][0]["note"] == "blurred <b>"
    card = browser("GET", "/api/item?session=ana&position=0&batch=b1").json()
    assert card["note"] == "blurred <b>"
    rows = read_jsonl(Path("data/rounds/001/answers/session-ana.jsonl"))
    assert [row["al_note"] for row in rows] == ["blurred <b>"]
    again = browser.answer(key="without-one", replaces="12345678").json()["state"]
    assert again["history"][0]["note"] == ""
    assert browser.answer(note="x" * 2001, key="too-long").status_code == 400


def test_the_page_is_told_what_the_labels_mean(make_project: MakeProject) -> None:
    rows = [LabelHelp(name="positive", description="liked", example="great!")]
    assert browse(make_project, labels=rows)("GET", "/api/labels").json() == rows
