"""`rounds inspect`: the gate on tables of strangers."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from rounds.inspect import command
from rounds.self_test import self_test
from stages.quality.error_model import LabelErrors
from stages.quality.judgement import Judgement, LabelledRows
from stages.quality.witnesses import Neighbours


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """numbers.csv with 60 rows of two far classes (line 6 is mislabelled), and matching
    probabilities.
    """
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    names = ["yes", "no"]
    rows = [
        (4 * (row % 2) + 0.3 * draw.normal(), names[row % 2 if row != 4 else 1])
        for row in range(60)
    ]
    Path("numbers.csv").write_text("x,label\n" + "".join(f"{x},{label}\n" for x, label in rows))
    no = np.where(np.arange(60) % 2, 0.95, 0.05)
    np.save("proba.npy", np.column_stack([no, 1 - no]))  # columns: no, yes
    return tmp_path


def run(*arguments: str, exit_code: int = 0) -> str:
    result = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result.output


@pytest.mark.parametrize(
    "by", [["--features", "all"], ["--features", "x"], ["--proba", "proba.npy"]]
)
def test_the_wrong_label_is_ranked_first_with_its_suggestion(folder: Path, by: list[str]) -> None:
    said = run("numbers.csv", "--label", "label", *by, "--out", "issues.csv")
    assert "1 probably wrong (1.7%), 60 could be judged" in said
    rows = list(csv.DictReader((folder / "issues.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 60
    assert (rows[0]["line"], rows[0]["label"], rows[0]["suggested"], rows[0]["flagged"]) == (
        "6",
        "no",
        "yes",
        "yes",
    )
    assert "label_error" in rows[0]["reasons"]


def test_every_label_that_is_probably_wrong_is_flagged_however_many_there_are(
    tmp_path: Path,
) -> None:
    draw = np.random.default_rng(0)
    truth = np.arange(300) % 3
    clear = np.where(
        np.arange(300) < 250, 0.96, 0.5
    )  # of the last rows the model itself is not sure
    given = np.where(
        np.arange(300) % 10 == 0, (truth + 1) % 3, truth
    )  # 30 wrong labels; a batch reviews 4
    chances = np.tile(((1 - clear) / 2)[:, None], (1, 3))
    chances[np.arange(300), truth] = clear
    order = draw.permutation(300)
    table, proba, out = (str(tmp_path / name) for name in ("table.csv", "proba.npy", "out.csv"))
    Path(table).write_text("label\n" + "".join(f"{label}\n" for label in given[order]))
    np.save(proba, chances[order])
    said = run(table, "--label", "label", "--proba", proba, "--out", out)
    rows = list(csv.DictReader(Path(out).read_text(encoding="utf-8").splitlines()))
    wrong = {int(at) + 2 for at in np.flatnonzero((given != truth)[order] & (clear[order] > 0.9))}
    assert len(wrong) == 25
    assert wrong <= {int(row["line"]) for row in rows if row["flagged"]}
    assert f"{sum(row['flagged'] == 'yes' for row in rows)} probably wrong" in said


@pytest.mark.usefixtures("folder")
def test_a_label_that_is_rather_right_than_wrong_is_ranked_and_not_called_probably_wrong() -> None:
    copies = [(0, "yes")] * 4 + [
        (0, "no")
    ] * 3  # where copies differ, a label is wrong with the share of the others
    table = Path("numbers.csv").read_text() + "".join(f"{x},{label}\n" for x, label in copies)
    Path("copies.csv").write_text(table)
    said = run("copies.csv", "--label", "label", "--features", "all", "--out", "issues.csv")
    assert "4 probably wrong (6.0%)" in said  # line 6, and the three that are in the minority
    rows = {
        int(row["line"]): row for row in csv.DictReader(Path("issues.csv").read_text().splitlines())
    }
    assert [
        (round(float(rows[line]["error"]), 3), rows[line]["flagged"]) for line in range(62, 66)
    ] == [(0.429, "")] * 4
    assert [rows[line]["flagged"] for line in range(66, 69)] == ["yes"] * 3


@pytest.mark.usefixtures("folder")
def test_the_exit_code_tells_ci_when_too_many_labels_are_wrong() -> None:
    arguments = ["numbers.csv", "--label", "label", "--features", "all", "--fail-over"]
    run(*arguments, "0.05")
    said = run(*arguments, "0.01", exit_code=1)
    assert (
        "error: numbers.csv: 1.7% of the labels are probably wrong, limit 1.0%; read the ranked list"
        in said
    )


@pytest.mark.usefixtures("folder")
def test_what_cannot_be_judged_is_said_and_not_passed() -> None:
    Path("few.csv").write_text(
        "x,label\n" + "".join(f"{row},{'ab'[row % 2]}\n" for row in range(10))
    )
    said = run("few.csv", "--label", "label", "--features", "all")
    assert "0 could be judged\nestimated share of wrong labels: not applicable" in said
    assert "not applicable (no --text or --features)" in run(
        "numbers.csv", "--label", "label", "--proba", "proba.npy"
    )


@pytest.mark.usefixtures("folder")
def test_annotator_columns_give_a_consensus_and_name_the_careless_one() -> None:
    draw = np.random.default_rng(1)
    lines = ["x,ann,bob,cleo"]
    for row in range(120):
        truth = row % 2
        votes = ["ab"[truth if draw.random() > rate else 1 - truth] for rate in (0.02, 0.05, 0.4)]
        lines.append(f"{4 * truth + 0.3 * draw.normal()},{','.join(votes)}")
    Path("crowd.csv").write_text("\n".join(lines) + "\n")
    said = run("crowd.csv", "--annotators", "ann,bob,cleo", "--features", "x")
    quality = dict(part.split() for part in said.split("quality ")[1].split("\n")[0].split(", "))
    assert float(quality["cleo"]) < min(float(quality["ann"]), float(quality["bob"]))


@pytest.mark.usefixtures("folder")
def test_texts_are_read_and_copies_with_different_labels_named() -> None:
    rows = [("good fine nice", "pos"), ("bad awful poor", "neg")] * 15 + [("good fine nice", "neg")]
    Path("texts.csv").write_text(
        "text,label\n"
        + "".join(f"{text} {n // 2},{label}\n" for n, (text, label) in enumerate(rows))
    )
    Path("copies.csv").write_text(
        "text,label\n" + "".join(f"{text},{label}\n" for text, label in rows)
    )
    run("texts.csv", "--label", "label", "--text", "text")
    assert "16 copies with different labels" in run(
        "copies.csv", "--label", "label", "--text", "text"
    )


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (
            np.ones((60, 2)),
            "row 0 is no probability distribution (60 such rows); rows must be >= 0 and sum to 1",
        ),
        (np.full((59, 2), 0.5), "an array of shape (60, 2 or more) was expected, found (59, 2)"),
        (np.full((60, 3), 1 / 3), "3 probability columns, and 2 classes among the labels"),
        (np.full((60, 2), np.nan), "row 0 is no probability distribution"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_probabilities_that_are_none_are_refused(array: np.ndarray, said: str) -> None:
    np.save("bad.npy", array)
    assert said in run("numbers.csv", "--label", "label", "--proba", "bad.npy", exit_code=1)


@pytest.mark.usefixtures("folder")
def test_numbered_labels_name_their_column_even_when_a_class_is_missing() -> None:
    Path("numbered.csv").write_text(
        "label\n" + "".join(f"{(0, 2, 10)[row % 3]}\n" for row in range(60))
    )
    chances = np.full((60, 11), 0.01)
    chances[np.arange(60), np.array([0, 2, 10])[np.arange(60) % 3]] = 0.9
    chances[7] = np.roll(chances[7], 8)  # line 9 is a 2 that looks like a 10
    np.save("eleven.npy", chances)
    assert "line 9: '2', rather '10'" in run(
        "numbered.csv", "--label", "label", "--proba", "eleven.npy"
    )


@pytest.mark.parametrize("arguments", [["--features", "all"], ["--label", "label"]])
@pytest.mark.usefixtures("folder")
def test_a_call_that_names_too_little_says_what_to_name(arguments: list[str]) -> None:
    assert "name " in run("numbers.csv", *arguments, exit_code=2)


@pytest.mark.usefixtures("folder")
def test_the_ranked_list_is_written_before_anything_is_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there: list[bool] = []
    monkeypatch.setattr(
        "rounds.inspect.click.echo", lambda *_, **__: there.append(Path("issues.csv").is_file())
    )
    run("numbers.csv", "--label", "label", "--proba", "proba.npy", "--out", "issues.csv")
    assert len(there) == 2  # the summary, and the sentence at the end
    assert all(there)


@pytest.mark.usefixtures("folder")
def test_the_self_test_plants_three_of_sixty_labels_and_counts_what_is_found() -> None:
    """Far classes: all three are found, and line 6, which is wrong already, is no new doubt."""
    arguments = ["numbers.csv", "--label", "label", "--features", "x", "--self-test"]
    said = run(*arguments)
    for kind in ("evenly", "on hard rows"):
        assert f"self-test, mistakes {kind}: 3 of 3 planted found, 100% [44%, 100%]" in said
    assert said.count("of 3 new doubts 3 are planted, 100% [44%, 100%]") == 2
    printed = run(*arguments, "--json")
    tests = json.loads(printed[printed.index("{") : printed.rindex("}") + 1])["self_test"]
    assert [(test["mistakes"], test["planted"], test["found"]) for test in tests] == [
        ("evenly", 3, 3),
        ("on hard rows", 3, 3),
    ]
    assert tests[0]["recall_interval"] == pytest.approx([0.4385, 1.0], abs=1e-3)


def test_what_is_not_found_and_what_is_doubted_wrongly_lower_both_shares() -> None:
    """Of five planted labels the gate flags two, and two right ones: 2 of 5, and 2 of 4. A label
    that was flagged before and is not planted counts in neither.
    """
    labels = np.arange(100) % 2
    ids = [f"r{row}" for row in range(100)]
    points = np.zeros((100, 1), dtype=np.float32)
    rows = LabelledRows(points, points, labels, ids, ids)
    probability = np.full(100, 0.1)
    judged = np.ones(100, dtype=bool)
    judged[:10] = False
    errors = LabelErrors(probability, 1 - labels, judged, 0.1, 1.0, np.zeros(100))
    nothing = np.zeros(100)
    near = Neighbours(np.zeros((100, 0), dtype=np.intp), np.zeros((100, 0)))
    judgement = Judgement(
        errors, np.zeros((100, 2)), nothing > 0, nothing, nothing.astype(np.intp) - 1, near
    )
    flagged = np.arange(100) == 99

    def flags(planted: LabelledRows) -> np.ndarray:
        wrong = np.flatnonzero(planted.labels != labels)
        assert len(wrong) == 5
        assert wrong.min() >= 10
        assert 99 not in wrong
        right = np.setdiff1d(np.arange(98), wrong)[:2]
        return np.isin(np.arange(100), [99, *wrong[:2], *right])

    for test in self_test(rows, judgement, flagged, flags, 0):
        assert (test["found"], test["recall"]) == (2, 0.4)
        assert (test["doubts"], test["precision"]) == (4, 0.5)
    nowhere = replace(judgement, errors=replace(errors, judged=np.zeros(100, dtype=bool)))
    assert self_test(rows, nowhere, flagged, flags, 0) == []


@pytest.mark.usefixtures("folder")
def test_the_self_test_of_votes_is_refused() -> None:
    said = run(
        "numbers.csv", "--annotators", "label", "--features", "x", "--self-test", exit_code=2
    )
    assert "--self-test plants mistakes in --label" in said
