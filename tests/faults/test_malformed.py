"""Whatever lies in the files, a person gets one line that names it, and nothing is half written."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rounds.collect import collect
from rounds.project import Project
from stages.answers.prodigy import task
from stages.answers.reading import import_labels
from stages.answers.rounds import batch_id
from stages.contract.canonical import dumps, jsonl, sha256
from stages.contract.errors import PipelineError
from stages.contract.params import load
from stages.examples.tables import read_table

ROOT = Path(__file__).parents[2]
ODD = (
    None,
    True,
    -1,
    1e400,
    "",
    "\x00",
    "\ud800",
    "x" * 100_000,
    [],
    [[]],
    {},
    {"a": [1]},
    ["a", "b"],
    "../../etc/passwd",
)
BROKEN = (
    b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf", b"\x00" * 40, b"[" * 50_000, b'{"a":' * 5_000, b"{", b"null\n", b"[]\n",
    b'"x"\n', b"{}\n", b"\r\r\r", b"\x80abc\n", b'{"al_id":NaN}\n', b"," * 1_000_000, "\u2028\u0085".encode() + b"{}\n",
)  # fmt: skip


def make(folder: Path) -> Project:
    """A project with one issued round of three rows; only what reading needs."""
    for name in ("stages/query.py", "dvc.yaml", "params.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    rows = [{"id": f"i{place}", "rank": place, "arms": ["active"]} for place in range(3)]
    asked = [
        task(
            {"text": f"text {row['id']}"},
            ["0", "1"],
            al_id=str(row["id"]),
            batch_id=batch_id(rows),
            rank=1,
            score=0.5,
        )
        for row in rows
    ]
    files = {"asked.jsonl": jsonl(asked), "batch.jsonl": jsonl(rows), "verdicts.jsonl": b""}
    manifest = {
        "batch_id": batch_id(rows),
        "rows": 3,
        "sha256": {name: sha256(data) for name, data in files.items()},
    }
    round_folder = folder / "data" / "rounds" / "001"
    (round_folder / "answers").mkdir(parents=True)
    for name, data in files.items():
        (round_folder / name).write_bytes(data)
    (round_folder / "manifest.json").write_text(dumps(manifest))
    (round_folder / "answers" / "ann.jsonl").write_bytes(good(asked[0]))
    (round_folder / "corrections.jsonl").write_bytes(b"")
    return Project(folder)


def good(row: dict[str, object]) -> bytes:
    answer = {
        "al_id": row["al_id"],
        "al_batch": row["al_batch"],
        "options": [],
        "accept": ["1"],
        "answer": "accept",
    }
    return jsonl(
        [
            {
                **answer,
                "_annotator_id": "a-ann",
                "_timestamp": 5,
                "flagged": False,
                "text": row["text"],
            }
        ]
    )


def inputs(valid: bytes) -> list[bytes]:
    """Broken files, and a valid one with each value replaced, truncated, and with random bytes
    changed.
    """
    row = json.loads(valid)
    rng = random.Random(0)
    swapped = [json.dumps({**row, key: value}).encode() + b"\n" for key in row for value in ODD]
    cut = [valid[: len(valid) * part // 8] for part in range(1, 8)]
    noisy = []
    for _ in range(15):
        data = bytearray(valid)
        for _ in range(3):
            data[rng.randrange(len(data))] = rng.randrange(256)
        noisy.append(bytes(data))
    return [*BROKEN, *swapped, *cut, *noisy]


def files_of(project: Project) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in project.root.rglob("*") if path.is_file()}


def check(run: Callable[[], object]) -> bool:
    """Whether a call was refused; the refusal must be one line with a place and a remedy."""
    try:
        run()
    except PipelineError as error:
        told = str(error)
    else:
        return False
    assert "\n" not in told
    assert ": " in told
    assert "; " in told
    return True


@pytest.mark.parametrize(
    "name",
    ["answers/ann.jsonl", "corrections.jsonl", "manifest.json", "asked.jsonl", "closed.json"],
)
def test_a_malformed_round_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    project = make(tmp_path)
    path = project.rounds_folder / "001" / name
    valid = (
        path.read_bytes()
        if path.is_file() and path.stat().st_size
        else b'{"id":"i0","label":"1","was":"0","why":"w","by":"b"}\n'
    )
    valid = valid if name != "asked.jsonl" else valid.splitlines(keepends=True)[0]
    params = load(project.root / "params.yaml")
    tried = refused = 0
    for data in inputs(valid):
        path.write_bytes(data)
        refused += check(lambda: import_labels(project.rounds_folder, params))
        tried += 1
    assert tried >= 60
    assert refused or name == "closed.json"  # its existence is all that counts


@pytest.mark.slow
def test_a_malformed_export_is_sorted_or_refused_and_never_half_collected(tmp_path: Path) -> None:
    project = make(tmp_path / "project")
    export = tmp_path / "export.jsonl"
    valid = good(project.last_round().tasks()[1])
    for data in inputs(valid):
        export.write_bytes(data)
        before = files_of(project)
        if check(lambda: collect(project, [export], strict=True)):
            assert files_of(project) == before
        import_labels(project.rounds_folder, load(project.root / "params.yaml"))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_malformed_table_is_refused_in_one_line(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pool{suffix}"
    for data in (*BROKEN, b"", b"a,a\n1,2\n", b'a,b\n"1,2\n', b"a,b\n1\n", b"PAR1" * 9):
        path.write_bytes(data)
        check(lambda: read_table(path))


def test_malformed_params_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    text = (ROOT / "params.yaml").read_bytes()
    for data in (
        *(data for data in BROKEN if len(data) < 10_000),
        text.replace(b"seed: 0", b"seed: !!python/object:os.system x"),
        text[:900],
    ):
        path.write_bytes(data)
        assert check(lambda: load(path)), data[:20]


def test_names_in_the_data_never_become_paths(tmp_path: Path) -> None:
    project = make(tmp_path / "project")
    row = json.loads(good(project.last_round().tasks()[1])) | {
        "_annotator_id": "x-../../../evil",
        "al_dataset": "../evil",
    }
    export = tmp_path / "export.jsonl"
    export.write_bytes(jsonl([row]))
    before = set(files_of(project))
    collect(project, [export], strict=True)
    assert {Path(name).name for name in set(files_of(project)) - before} == {"export.jsonl"}
    assert not (tmp_path / "evil").exists()
