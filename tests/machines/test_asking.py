"""Asking machines: an endpoint that the test starts on loopback, a command, rules; caps, resume."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from rounds.machines.command import Batch, affordable, ask_all, by_endpoint
from rounds.machines.endpoint import Endpoint, Pace, Prices
from rounds.machines.local import Rules, answers_of_command
from rounds.machines.prompt import read_reply
from rounds.machines.rows import Example
from stages.contract.errors import PipelineError
from stages.machines.frozen import MachineAnswer, checked_answer

LABELS = ["card", "cash"]
KEY = "sk-secret-0123"
Reply = tuple[int, dict[str, str], dict[str, Any]]


def completion(content: str, **more: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 100, "completion_tokens": 10}
    return {"choices": [{"message": {"content": content}}], "usage": usage, **more}


@contextmanager
def served(reply: Callable[[dict[str, Any]], Reply]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An endpoint on loopback; its address, and the requests that it got."""
    seen: list[dict[str, Any]] = []
    guard = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with guard:
                seen.append({"path": self.path, "key": self.headers["authorization"], **body})
                status, headers, document = reply(body)
            data = json.dumps(document).encode()
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def endpoint(url: str, waits: list[float] | None = None, **more: Any) -> Endpoint:
    options: dict[str, Any] = {
        "url": url,
        "model": "m-1",
        "key": KEY,
        "prompt": "Label it.",
        "digits": "abc",
        "labels": LABELS,
        "prices": Prices(read=1.0, written=10.0),
        "pace": Pace(None),
        "sleep": (waits if waits is not None else []).append,
    }
    return Endpoint(**{**options, **more})


def example(number: int) -> Example:
    return Example(f"r{number}", "pool", {"text": f"question {number}"})


def test_a_row_goes_out_and_its_answer_comes_home_with_what_it_cost() -> None:
    said = completion('{"label": "cash", "confidence": 0.8}', system_fingerprint="fp-1")
    with served(lambda _: (200, {}, said)) as (url, seen), httpx.Client() as client:
        answer = endpoint(url).ask(client, example(1))
    assert answer == {
        "id": "r1",
        "label": "cash",
        "confidence": 0.8,
        "probabilities": None,
        "raw": '{"label": "cash", "confidence": 0.8}',
        "prompt": "abc",
        "model": "m-1",
        "version": "fp-1",
        "cost": pytest.approx(200e-6),
    }
    (request,) = seen
    assert request["path"] == "/v1/chat/completions"
    assert request["key"] == f"Bearer {KEY}"
    assert [message["content"] for message in request["messages"]] == ["Label it.", "question 1"]
    assert KEY not in json.dumps(answer)


def test_faults_that_pass_are_waited_out_and_retry_after_is_obeyed() -> None:
    replies: list[Reply] = [
        (429, {"retry-after": "7"}, {}),
        (503, {}, {}),
        (200, {}, completion("cash")),
    ]
    waits: list[float] = []
    with served(lambda _: replies.pop(0)) as (url, seen), httpx.Client() as client:
        answer = endpoint(url, waits).ask(client, example(1))
    assert answer["label"] == "cash"
    assert len(seen) == 3
    assert waits == [7.0, 14.0]


def test_an_endpoint_that_never_answers_is_given_up() -> None:
    waits: list[float] = []
    given_up = pytest.raises(PipelineError, match=r"no answer after 3 tries \(HTTP 500\)")
    with served(lambda _: (500, {}, {})) as (url, _), httpx.Client() as client, given_up:
        endpoint(url, waits, tries=3).ask(client, example(1))
    assert waits == [1.0, 2.0]


def test_a_refusal_is_one_line_without_the_key() -> None:
    refusal = (401, {}, {"error": f"bad key {KEY}"})
    refusing = pytest.raises(PipelineError, match="HTTP 401")
    with served(lambda _: refusal) as (url, seen), httpx.Client() as client, refusing as refused:
        endpoint(url).ask(client, example(1))
    assert KEY not in str(refused.value)
    assert len(seen) == 1


def test_a_key_is_not_sent_unencrypted_to_another_machine() -> None:
    with pytest.raises(PipelineError, match="unencrypted"):
        endpoint("http://models.example.org/v1")
    endpoint("http://models.example.org/v1", key="")


def test_what_came_through_is_kept_when_another_row_of_the_batch_fails() -> None:
    def reply(body: dict[str, Any]) -> Reply:
        bad = body["messages"][1]["content"] == "question 3"
        return (400, {}, {"error": "too long"}) if bad else (200, {}, completion("card"))

    frozen: list[MachineAnswer] = []

    def freeze(answers: Any) -> int:
        frozen.extend(answers)
        return len(answers)

    with served(reply) as (url, _), httpx.Client() as client:
        ask = by_endpoint(endpoint(url), 1, client)
        with pytest.raises(PipelineError, match="too long"):
            ask_all([example(number) for number in range(1, 5)], ask, freeze, 4, None)
    # r4 may be under way when r3 fails
    assert {answer["id"] for answer in frozen} - {"r4"} == {"r1", "r2"}


def test_requests_keep_their_distance() -> None:
    waits: list[float] = []
    pace = Pace(per_minute=30, sleep=waits.append, clock=lambda: 100.0)
    for _ in range(3):
        pace.wait()
    assert waits == [2.0, 4.0]


def priced(cost: float | None) -> Callable[[Any], Batch]:
    def ask(some: Any) -> Batch:
        rows = [{"id": row.id, "label": "card", "cost": cost} for row in some]
        return Batch([checked_answer(row, LABELS, "t") for row in rows])

    return ask


def test_the_cap_is_never_passed() -> None:
    rows = [example(number) for number in range(20)]
    asked = ask_all(rows, priced(0.3), len, 8, 1.0)
    assert (asked.rows, asked.new, asked.capped) == (3, 3, True)
    assert asked.cost == pytest.approx(0.9)
    assert affordable([], 1.0) == 1
    free = ask_all(rows, priced(0.0), len, 8, 1.0)
    assert (free.new, free.capped) == (20, False)


def test_a_cap_needs_prices() -> None:
    with pytest.raises(PipelineError, match="does not say what an answer costs"):
        ask_all([example(1)], priced(None), len, 8, 1.0)


@pytest.mark.parametrize(
    ("text", "label", "confidence"),
    [
        ('{"label": "cash", "confidence": 0.7}', "cash", 0.7),
        ('Sure!\n```json\n{"label": "CASH ", "confidence": 70}\n```', "cash", 0.7),
        ('"Cash".', "cash", None),
        ("It is about cash.", "cash", None),
        ("Either card or cash.", None, None),
        ("cashier", None, None),
        ('{"label": "cheque"}', None, None),
        ("", None, None),
        ('{"label": "card", "confidence": true}', "card", None),
    ],
)
def test_a_reply_is_read_for_one_label(
    text: str, label: str | None, confidence: float | None
) -> None:
    reply = read_reply(text, LABELS)
    assert (reply.label, reply.confidence) == (label, confidence)


def test_a_command_gets_rows_and_writes_answers(tmp_path: Path) -> None:
    script = tmp_path / "label.py"
    script.write_text(
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    row = json.loads(line)\n"
        "    label = 'cash' if row['text'].endswith('1') else 'card'\n"
        "    print(json.dumps({'id': row['id'], 'label': label, 'confidence': .9}))\n"
    )
    line = f"{sys.executable} {script.name}"
    answers = answers_of_command(line, [example(1), example(2)], LABELS, "abc", tmp_path)
    assert [(row["id"], row["label"], row["prompt"]) for row in answers] == [
        ("r1", "cash", "abc"),
        ("r2", "card", "abc"),
    ]
    with pytest.raises(PipelineError, match="ended with 3: out of memory"):
        answers_of_command(
            "sh -c 'echo out of memory >&2; exit 3'", [example(1)], LABELS, "", tmp_path
        )
    with pytest.raises(PipelineError, match="line 1 of its output: not JSON"):
        answers_of_command("echo loading", [example(1)], LABELS, "", tmp_path)
    stranger = """echo '{"id": "r9", "label": "card"}'"""
    with pytest.raises(PipelineError, match="'r9' was not asked"):
        answers_of_command(stranger, [example(1)], LABELS, "", tmp_path)


def test_rules_are_a_function_of_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "rules_of_test.py").write_text(
        "def label(row):\n"
        "    if row['text'].endswith('3'):\n"
        "        return None\n"
        "    if row['text'].endswith('4'):\n"
        "        raise KeyError('x')\n"
        "    return ('cash', .6) if row['text'].endswith('1') else 'card'\n"
    )
    rules = Rules("rules_of_test:label", tmp_path)
    assert "def label(row)" in rules.source
    said = [rules.answer(example(number), LABELS, "abc") for number in (1, 2, 3)]
    assert [(row["label"], row["confidence"]) for row in said] == [
        ("cash", 0.6),
        ("card", None),
        (None, None),
    ]
    with pytest.raises(PipelineError, match="row r4: KeyError"):
        rules.answer(example(4), LABELS, "abc")
    with pytest.raises(PipelineError, match="has no function 'lable'"):
        Rules("rules_of_test:lable", tmp_path)
