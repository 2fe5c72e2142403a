"""A project of many rounds as git has it, made at once: no pipeline ran, but every dvc.lock says
what one would say.

Used by the tests here, and by hand: python -m tests.history.long FOLDER, then `rounds history
n050-0050` in FOLDER.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

from rounds.dvc_files import filled, folder_md5, md5, param
from rounds.project import Project
from stages.answers.rounds import batch_id
from stages.contract.canonical import dumps, jsonl, sha256
from tests.history.inprocess import read_yaml

ROOT = Path(__file__).parents[2]
Files = dict[str, bytes]


def base() -> Files:
    """The project's own files; its tables are empty."""
    params = (ROOT / "params.yaml").read_text()
    for name in ("pool", "seed", "test"):
        params = params.replace(f"data/demo/{name}.csv", "data/none.csv")
    code = [path for name in ("stages", "rounds") for path in (ROOT / name).rglob("*.py")]
    names = [
        path.relative_to(ROOT).as_posix()
        for path in [
            *code, ROOT / "dvc.yaml", ROOT / "data" / "none.csv", ROOT / "data" / "scheme.jsonl",
        ]
    ]  # fmt: skip
    return {name: (ROOT / name).read_bytes() for name in sorted(names)} | {
        "params.yaml": params.encode()
    }


def question(number: int, size: int) -> Files:
    """The frozen files of a round."""
    ids = [f"n{number:03d}-{place:04d}" for place in range(size)]
    facts = {
        "arms": ["active"],
        "round": number,
        "score": 0.5,
        "strategy": "auto",
        "reason": "far from all labels",
    }
    batch = [
        {**facts, "id": item, "sha": sha256(item), "rank": place}
        for place, item in enumerate(ids, 1)
    ]
    options = [{"id": label, "text": label} for label in "0123456789"]
    text = "Some text of {}, as long as texts are".format
    asked = [
        {"al_id": item, "al_batch": batch_id(batch), "text": text(item), "options": options}
        for item in ids
    ]
    frozen = {"asked.jsonl": jsonl(asked), "batch.jsonl": jsonl(batch), "verdicts.jsonl": b""}
    hashes = {file: sha256(data) for file, data in frozen.items()}
    manifest = {"batch_id": batch_id(batch), "rows": size, "sha256": hashes}
    return frozen | {"manifest.json": dumps(manifest).encode()}


def reply(number: int, size: int, batch: str) -> bytes:
    """The answers of a round."""
    said = {
        "al_batch": batch,
        "accept": ["7"],
        "options": [],
        "answer": "accept",
        "_annotator_id": "x-ann",
    }
    return jsonl(
        {**said, "al_id": f"n{number:03d}-{place:04d}", "_timestamp": place}
        for place in range(size)
    )


def lock_of(files: Files) -> str:
    """The dvc.lock of a project whose stages ran on `files`; ROUNDS and EXPORT stand for what
    changes.
    """
    params = read_yaml(str(ROOT / "params.yaml")) | {
        "data": YAML(typ="safe").load(files["params.yaml"])["data"]
    }
    hashes = {name: md5(data) for name, data in files.items()} | {
        "data/rounds": "ROUNDS",
        "build/export": "EXPORT",
    }

    def entry(path: str) -> dict[str, str]:
        inside = {
            name[len(path) + 1 :]: value
            for name, value in hashes.items()
            if name.startswith(f"{path}/")
        }
        told = hashes.get(path) or (folder_md5(inside) if inside else md5(path.encode()))
        return {"path": path, "hash": "md5", "md5": told}

    told = {}
    for name, stage in read_yaml(str(ROOT / "dvc.yaml"))["stages"].items():
        listed = [out for kind in ("outs", "metrics", "plots") for out in stage.get(kind, [])]
        outs = [out if isinstance(out, str) else next(iter(out)) for out in listed]
        told[name] = {
            "cmd": " ".join(filled(stage["cmd"], params).split()),
            "deps": [entry(filled(path, params)) for path in stage["deps"]],
            "params": {"params.yaml": {key: param(params, key) for key in stage.get("params", [])}},
            "outs": [entry(path) for path in outs],
        }
    text = io.StringIO()
    YAML().dump({"schema": "2.0", "stages": told}, text)
    return text.getvalue()


def fabricate(folder: Path, rounds: int, size: int) -> Project:
    """The project after `rounds` closed rounds of `size` answers each; its last commit closes the
    last of them.
    """
    folder.mkdir()
    stream: list[bytes] = []

    def commit(number: int, subject: str, files: Files) -> None:
        head = "commit refs/heads/main\ncommitter Ann <a@b.c> {} +0000\ndata {}\n{}\n"
        stream.append(head.format(1_700_000_000 + number, len(subject), subject).encode())
        for name, data in files.items():
            stream.append(b"M 644 inline %s\ndata %d\n%s\n" % (name.encode(), len(data), data))

    files = base()
    commit(0, "Ours", files)
    lock, held, new = lock_of(files), dict[str, str](), dict[str, bytes]()
    for number in range(1, rounds + 2):
        asked = question(number, size)
        new |= {f"data/rounds/{number:03d}/{name}": data for name, data in asked.items()}
        held |= {name.removeprefix("data/rounds/"): md5(data) for name, data in new.items()}
        export = folder_md5({name: md5(data) for name, data in asked.items()})
        here = lock.replace("ROUNDS", folder_md5(held)).replace("EXPORT", export)
        commit(
            number,
            f"Round {number - 1}: {size * (number - 1)} labels",
            new | {"dvc.lock": here.encode()},
        )
        batch = json.loads(asked["manifest.json"])["batch_id"]
        new = {f"data/rounds/{number:03d}/answers/ann.jsonl": reply(number, size, batch)}
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=folder, check=True)
    subprocess.run(
        ["git", "fast-import", "--quiet"], cwd=folder, input=b"".join(stream), check=True
    )
    subprocess.run(["git", "reset", "-q", "--hard"], cwd=folder, check=True)
    return Project(folder)


if __name__ == "__main__":
    fabricate(Path(sys.argv[1]), 100, 100)
