"""--json: each document is of its schema, on stdout alone; an error is a document, too."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TypeVar

import click
import pytest
from click.testing import CliRunner, Result

from handbook.documents import name_of
from rounds import documents
from rounds.__main__ import cli
from rounds.documents import DOCUMENTS, Part
from rounds.init import fill_in
from tests.conftest import Small, blobs, rounds, shell, write_csv
from tests.surfaces.conftest import MakeProject

P = TypeVar("P", bound=Part)
WITH_JSON = ("status", "collect", "close", "report", "predict", "finish", "inspect", "backtest")
IDENTITY = {
    f"GIT_{who}_{what}": "ada" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
}


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


def read(done: Result | str, document: type[P]) -> P:
    """The document that a command printed, alone on its line; unknown fields are refused."""
    text = done if isinstance(done, str) else done.stdout
    line = next(line for line in text.splitlines() if line.startswith("{"))
    names = set(json.loads(line))
    fields = {"schema" if name == "schema_" else name for name in document.model_fields}
    assert names == fields
    return document.model_validate_json(line)


def test_every_command_that_prints_a_document_has_a_schema_of_its_name() -> None:
    for name in WITH_JSON:
        command = cli.get_command(click.Context(cli), name)
        assert command
        assert any("--json" in option.opts for option in command.params), name
    assert [name_of(document) for document in DOCUMENTS] == [
        f"labelrounds.{name}-1" for name in (*WITH_JSON, "error")
    ]


def test_a_refusal_is_a_document_and_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("status", "--json")
    assert done.exit_code == 1
    failure = read(done, documents.Failure)
    assert done.stderr == f"error: {failure.where}: {failure.what}; {failure.remedy}\n"
    assert run("status", "--jsn").exit_code == 2


def test_collect_counts_what_a_file_held(make_project: MakeProject, tmp_path: Path) -> None:
    make_project(["one", "two"])
    table = tmp_path / "ann.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["text", "label"], ["one", "positive"], ["six", "positive"]])
    done = read(run("collect", "--json", "--dry-run", str(table)), documents.Collect)
    (source,) = done.sources
    assert (source.new, source.late, done.missing, done.dry_run) == (1, 0, 2, True)
    assert [row.line for row in source.bad] == [3]
    assert source.name == str(table)


@pytest.mark.slow
def test_inspect_says_how_many_labels_are_probably_wrong(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "t.csv", ["id", "x", "y", "label"], blobs(60))
    words = ("inspect", str(table), "--label", "label", "--features", "x,y", "--json")
    inspected = read(run(*words), documents.Inspect)
    assert (inspected.rows, inspected.classes, inspected.out) == (60, 3, None)
    assert inspected.flagged_share == inspected.flagged / 60
    refused = run(*words, "--fail-over", "0") if inspected.flagged else None
    assert refused is None or refused.exit_code == 1


@pytest.mark.slow
def test_a_projects_life_in_documents(small: Small) -> None:
    home = small.root.parent
    tables = [f"--{name}=small/data/{name}.csv" for name in ("pool", "seed", "test")]
    rounds(home, "init", "life", *tables, "--id", "id", "--columns", "x,y", **IDENTITY)
    life = home / "life"
    fill_in(life / "params.yaml", {("query", "batch_size"): 12, ("query", "control_fraction"): 0.5})
    shell(life, "git", "commit", "--quiet", "--all", "--message", "Small batches", **IDENTITY)
    planned = read(rounds(life, "close", "--json", "--dry-run"), documents.Close)
    assert (planned.dry_run, planned.committed, planned.commit) == (True, False, None)
    for number in (1, 2):
        closed = read(rounds(life, "close", "--json", **IDENTITY), documents.Close)
        assert closed.commit == shell(life, "git", "rev-parse", "HEAD").strip()
        assert closed.open == documents.RoundState(number=number, asked=12, answered=0)
        assert (closed.rounds, closed.next) == (number - 1, "rounds annotate")
        rounds(life, "annotate", "--oracle", "../small/oracle.csv")
    rounds(life, "close", **IDENTITY)
    status = read(rounds(life, "status", "--json"), documents.Status)
    gate = json.loads((life / "metrics" / "gate.json").read_text())
    assert (status.answers, status.accepted, status.doubted) == (
        24,
        gate["accepted"],
        gate["review"],
    )
    assert status.active
    assert status.random
    assert status.gap
    assert status.judged_on == "test set"
    report = read(rounds(life, "report", "--json"), documents.Report)
    assert (report.round, len(report.summary), report.out) == (2, 4, "report.html")
    words = ("../small/data/test.csv", "--out", "labelled.csv", "--json")
    predicted = read(rounds(life, "predict", *words), documents.Predict)
    assert (predicted.rows, predicted.round, predicted.out) == (60, 2, "labelled.csv")
    (life / "labelled.csv").unlink()
    claim = ("--error", ".4", "--confidence", ".6", "--json")
    finished = read(rounds(life, "finish", *claim, "--dry-run", **IDENTITY), documents.Finish)
    assert finished.by_machine + finished.left == finished.rest
    done = read(rounds(life, "finish", *claim, **IDENTITY), documents.Finish)
    assert (done.committed, done.labels) == (True, "build/finish/finished.parquet")


@pytest.mark.slow
def test_a_backtest_in_a_document(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "t.csv", ["id", "x", "y", "label"], blobs(150))
    words = "--label label --features x,y --seed-size 10 --batch 5 --rounds 2 --repeats 1 --jobs 1"
    out = tmp_path / "out"
    done = rounds(tmp_path, "backtest", str(table), *words.split(), "--out", str(out), "--json")
    backtest = read(done, documents.Backtest)
    summary = json.loads((out / "summary.json").read_text())
    assert (backtest.use, backtest.said) == (
        summary["decision"]["use"],
        summary["decision"]["said"],
    )
    assert backtest.strategies == summary["strategies"]
