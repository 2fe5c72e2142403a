"""Fifty annotators at once against one page server: is any answer lost, doubled or misattributed,
and how fast is it.

    python -m benchmarks.surface_load [--sessions 50] [--answers 200] [--think 0.2]

Two servers run one after the other on this machine, the page and a peer that does nothing but write
and fsync a line per request. Each is driven twice: flat out (every session answers as soon as it is
answered) and at the pace of very fast people (a pause between answers, uniform with mean --think
seconds). Then every acknowledged answer is compared with the files.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from rounds.shipped import shipped_params
from stages.answers import prodigy
from stages.contract.canonical import jsonl, read_jsonl, write_bytes, write_json

LABELS = ["positive", "negative", "neutral"]
HERE = Path(__file__).resolve().parent.parent
PEER = """
import asyncio, os, sys, uvicorn
file = os.open(sys.argv[2], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
def save(body):
    os.write(file, body + b"\\n")
    os.fsync(file)
async def app(scope, receive, send):
    body = (await receive()).get("body", b"")
    await asyncio.to_thread(save, body)
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False, lifespan="off")
"""


@dataclass
class Drive:
    """What the sessions saw: seconds per answer, and every acknowledged (session, item, label)."""

    seconds: list[float] = field(default_factory=list)
    acknowledged: list[tuple[str, str, str]] = field(default_factory=list)


class Connection:
    """Just enough HTTP/1.1 over one kept-open connection, so that the clients leave the processor
    to the server.
    """

    def __init__(self, port: int) -> None:
        self._port = port

    async def open(self) -> None:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def call(self, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
        """Status and JSON of one request."""
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
        head += "Content-Type: application/json\r\n"
        self._writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        header = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        size = int(header.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(header[9:12]), json.loads(await self._reader.readexactly(size))


async def person(port: int, name: str, answers: int, think: float, drive: Drive) -> None:
    """One session: look at the card, answer, look at the next; goes home when there is none."""
    chance, connection = random.Random(name), Connection(port)
    await connection.open()
    _, state = await connection.call("GET", f"/api/state?session={name}")
    for number in range(answers):
        card = state["card"]
        if card is None:
            return
        await asyncio.sleep(chance.uniform(0, 2 * think) if think else 0)
        label = chance.choice(LABELS)
        sent = {
            "session": name,
            "batch": "load",
            "position": card["position"],
            "answer": "accept",
            "label": label,
        }
        sent |= {"flagged": False, "key": f"{name}-{number:08d}", "replaces": card["key"]}
        start = time.perf_counter()
        code, answer = await connection.call("POST", "/api/answer", json.dumps(sent).encode())
        drive.seconds.append(time.perf_counter() - start)
        if code == 200:
            drive.acknowledged.append((name, f"item-{card['position']}", label))
        state = answer["state"]


async def line(port: int, name: str, answers: int, think: float, drive: Drive) -> None:
    """The same pace against the peer."""
    chance, connection = random.Random(name), Connection(port)
    await connection.open()
    for _ in range(answers):
        await asyncio.sleep(chance.uniform(0, 2 * think) if think else 0)
        start = time.perf_counter()
        await connection.call("POST", "/", b"x" * 400)
        drive.seconds.append(time.perf_counter() - start)


def make_project(root: Path, items: int) -> None:
    """A project with one issued batch."""
    (root / "stages").mkdir(parents=True)
    (root / "stages" / "query.py").touch()
    (root / "dvc.yaml").touch()
    params = shipped_params({"labels": LABELS, "data": {"id": "", "text": "text", "image": ""}})
    write_json(root / "params.yaml", params.model_dump(by_alias=True))
    tasks = [
        prodigy.task(
            {"text": f"Review {n}: arrived late, works well."},
            LABELS,
            al_id=f"item-{n}",
            batch_id="load",
            rank=n,
            score=0,
        )
        for n in range(items)
    ]
    write_bytes(root / "data/rounds/001/asked.jsonl", jsonl(tasks))
    write_json(root / "data/rounds/001/manifest.json", {"batch_id": "load", "rows": items})
    who = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
    for words in (("init", "-q"), ("add", "--all"), (*who, "commit", "-qm", "Round 0")):
        subprocess.run(
            ["git", *words], cwd=root, check=True
        )  # people may answer only what is committed


@contextmanager
def running(command: list[str], folder: Path, port: int) -> Iterator[None]:
    """A server, from listening to stopped."""
    server = subprocess.Popen(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(HERE)}, stderr=subprocess.DEVNULL
    )
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield
    finally:
        server.terminate()
        server.wait()


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def report(name: str, drive: Drive, elapsed: float) -> None:
    """One row of the table."""
    times = sorted(drive.seconds)
    p50, p99 = times[len(times) // 2], times[int(len(times) * 0.99)]
    rate = len(times) / elapsed
    milliseconds = " | ".join(f"{seconds * 1e3:.1f}" for seconds in (p50, p99, times[-1]))
    click.echo(f"| {name} | {len(times)} | {rate:.0f} | {milliseconds} |")


@click.command()
@click.option("--sessions", default=50, show_default=True)
@click.option("--answers", default=200, show_default=True)
@click.option(
    "--think", default=0.2, show_default=True, help="Mean pause of a fast person, seconds."
)
def main(sessions: int, answers: int, think: float) -> None:
    """Drive both servers, print the table, and fail when the files disagree with what was
    acknowledged.
    """
    faults = 0
    click.echo(
        "| server | answers | per second | p50 ms | p99 ms | worst ms |\n|---|---|---|---|---|---|"
    )
    for pause in (0.0, think):
        pace = f"pause {pause:g} s" if pause else "flat out"
        with tempfile.TemporaryDirectory() as name:
            root, port = Path(name), free_port()
            make_project(
                root, sessions * (answers + 1)
            )  # nobody runs out while others hold the last ones
            code = f"from rounds.annotate import command; command(['--port', '{port}'])"
            with running([sys.executable, "-c", code], root, port):
                drive, start = Drive(), time.perf_counter()
                asyncio.run(_all(person, port, sessions, answers, pause, drive))
                report(f"page, {pace}", drive, time.perf_counter() - start)
            faults += _faults(root, drive, sessions * answers)
            with running([sys.executable, "-c", PEER, str(port), str(root / "peer")], root, port):
                drive, start = Drive(), time.perf_counter()
                asyncio.run(_all(line, port, sessions, answers, pause, drive))
                report(f"only fsync, {pace}", drive, time.perf_counter() - start)
    sys.exit(1 if faults else 0)


async def _all(
    who: Any, port: int, sessions: int, answers: int, think: float, drive: Drive
) -> None:
    await asyncio.gather(*(who(port, f"s{n}", answers, think, drive) for n in range(sessions)))


def _faults(root: Path, drive: Drive, expected: int) -> int:
    """Differences between what was acknowledged and what the files hold; also told."""
    written = [
        (answer.annotator, str(answer.id), str(answer.label))
        for path in (root / "data/rounds/001/answers").glob("*.jsonl")
        for answer in map(prodigy.read_answer, read_jsonl(path))
    ]
    lost, doubled = (
        Counter(drive.acknowledged) - Counter(written),
        Counter(written) - Counter(drive.acknowledged),
    )
    twice = sum(count - 1 for count in Counter(item for _, item, _ in written).values())
    missing = expected - len(written)
    click.echo(
        f"{len(drive.acknowledged)} acknowledged: {lost.total()} lost or misattributed, "
        f"{doubled.total()} never acknowledged, {twice} items answered twice, {missing} unanswered",
        err=True,
    )
    return lost.total() + doubled.total() + twice + missing


if __name__ == "__main__":
    main()
