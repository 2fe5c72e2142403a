"""`rounds backtest`: the same results however it is run, resumable, and bad input refused in one
line.
"""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rounds.backtest import command as module
from rounds.backtest import loops
from stages.contract.canonical import jsonl, read_json
from stages.examples.tables import read_table
from tests.backtest.test_replay import driven
from tests.conftest import Small, blobs, write_csv

HEADER = ["id", "x", "y", "label"]
FEW = [
    "--seed-size",
    "6",
    "--batch",
    "6",
    "--rounds",
    "2",
    "--repeats",
    "2",
    "--no-gate",
    "--jobs",
    "1",
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "data.csv", HEADER, blobs(120))


def backtest(
    data: Path, *words: str, out: Path | None = None, kind: tuple[str, ...] = ("--features", "x,y")
) -> Result:
    given = [
        str(data),
        "--label",
        "label",
        *kind,
        "--out",
        str(out or data.parent / "out"),
        *FEW,
        *words,
    ]
    return CliRunner().invoke(module.command, given)


def curves(out: Path) -> list[dict[str, str]]:
    """curves.csv without the clock's column."""
    with (out / "curves.csv").open() as file:
        return [
            {key: cell for key, cell in row.items() if key != "seconds"}
            for row in csv.DictReader(file)
        ]


def refused(result: Result) -> str:
    assert result.exit_code == 1, result.output
    lines = [line for line in result.stderr.splitlines() if not line.startswith("backtest:")]
    assert len(lines) == 1
    return lines[0]


def test_it_writes_curves_a_summary_and_pages_and_always_runs_random(data: Path) -> None:
    done = backtest(data, "--strategy", "margin,own:dbal?prefilter=5")
    assert done.exit_code == 0, done.output
    out = data.parent / "out"
    rows = curves(out)
    assert list(rows[0]) == [
        "strategy", "repeat", "n_labels", "accuracy", "macro_f1", "recall_blue", "recall_green", "recall_red",
    ]  # fmt: skip
    assert {row["strategy"] for row in rows} == {"random", "margin", "own:dbal?prefilter=5"}
    assert [row["n_labels"] for row in rows[:3]] == ["6", "12", "18"]
    found = read_json(out / "summary.json")
    assert {arm["strategy"] for arm in found["strategies"]} == {row["strategy"] for row in rows}
    assert "| margin" in done.stdout
    assert "a quarter of the rows, stratified, was held out" in done.stdout
    assert "<svg" in (out / "backtest.html").read_text()
    assert "http" not in (out / "backtest.html").read_text().replace(
        "http://www.w3.org/2000/svg", ""
    )
    assert "| margin" in (out / "backtest.md").read_text()


def test_the_help_shows_every_option_under_the_heading_of_what_it_is_about() -> None:
    text = CliRunner().invoke(module.command, ["--help"]).stdout
    headings = [*module.GROUPS, "Other options"]
    sections = re.split(f"\n({'|'.join(headings)}):\n", text)
    shown = dict(zip(sections[1::2], sections[2::2], strict=True))
    assert list(shown) == headings
    for heading, names in module.GROUPS.items():
        options = [o for o in module.command.params if o.name in names]
        assert len(options) == len(names)
        assert all(f"\n  {option.opts[0]} " in f"\n{shown[heading]}" for option in options)
    assert re.findall(r"^  (\S+)", shown["Other options"], re.MULTILINE) == ["--help"]


@pytest.mark.slow
def test_jobs_do_not_change_the_result(data: Path) -> None:
    one, two = data.parent / "one", data.parent / "two"
    assert backtest(data, "--noise", "0.2", out=one).exit_code == 0
    assert backtest(data, "--noise", "0.2", "--jobs", "2", out=two).exit_code == 0
    assert curves(one) == curves(two)
    assert (one / "summary.json").read_bytes() == (two / "summary.json").read_bytes()


def test_after_a_stop_the_same_command_runs_only_what_is_left(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out, ran = data.parent / "whole", data.parent / "out", []
    assert backtest(data, out=whole).exit_code == 0
    replay = loops.replay

    def stop_at_third(*args, **kwargs):
        ran.append(args)
        if len(ran) == 3:
            raise KeyboardInterrupt
        return replay(*args, **kwargs)

    monkeypatch.setattr(loops, "replay", stop_at_third)
    assert "stopped; the same command goes on" in refused(backtest(data))
    assert len(list((out / "loops").iterdir())) == 2
    assert backtest(data).exit_code == 0
    assert len(ran) == 3 + 2
    assert curves(out) == curves(whole)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Children that Ctrl-C reaches: tests that run in the background ignore it, and what they start
    would, too.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
def test_a_real_ctrl_c_ends_every_process_in_one_line_and_the_same_command_goes_on(
    data: Path,
) -> None:
    out = data.parent / "out"
    words = [
        sys.executable,
        "-m",
        "rounds",
        "backtest",
        str(data),
        "--label",
        "label",
        "--features",
        "x,y",
    ]
    words += ["--out", str(out), *FEW, "--rounds", "8", "--repeats", "20", "--jobs", "2"]
    with subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        assert any("1 of 40 loops" in line for line in process.stderr)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all processes of the command
        told = process.stderr.read().splitlines()  # ends when the last of them has ended
    assert process.returncode == 1
    assert (
        told[-1]
        == "error: rounds backtest: stopped; the same command goes on: finished loops are kept"
    )
    assert all(line.startswith(("backtest: ", "loop")) for line in told[:-1])
    kept = len(list((out / "loops").iterdir()))
    assert 1 <= kept < 40
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert f"{kept + 1} of 40 loops" in done.stderr.splitlines()[0]


@pytest.mark.slow
def test_more_repeats_go_on_from_those_that_are_there(data: Path) -> None:
    assert backtest(data).exit_code == 0
    before = curves(data.parent / "out")
    assert backtest(data, "--repeats", "3").exit_code == 0
    after = curves(data.parent / "out")
    assert [row for row in after if row["repeat"] != "2"] == before
    assert len(after) == len(before) * 3 // 2


def test_another_backtest_in_the_same_folder_is_refused(data: Path) -> None:
    assert backtest(data).exit_code == 0
    assert refused(backtest(data, "--batch", "7")).endswith(
        "holds another backtest, with other params; name another --out"
    )
    assert "with other rounds" in refused(backtest(data, "--rounds", "3"))
    (data.parent / "notes.txt").write_text("mine")
    assert "not an empty folder" in refused(backtest(data, out=data.parent))
    assert "not an empty folder" in refused(backtest(data, out=data.parent / "notes.txt"))


def test_csv_jsonl_and_parquet_of_the_same_rows_give_the_same_curves(data: Path) -> None:
    import pandas as pd

    frame = pd.read_csv(data)
    frame.to_json(data.with_suffix(".jsonl"), orient="records", lines=True)
    frame.to_parquet(data.with_suffix(".parquet"))
    found = []
    for suffix in (".csv", ".jsonl", ".parquet"):
        out = data.parent / suffix[1:]
        done = backtest(data.with_suffix(suffix), "--id", "id", out=out)
        assert done.exit_code == 0, done.output
        found.append(curves(out))
    assert found[0] == found[1] == found[2]


def test_row_order_does_not_change_the_result(data: Path) -> None:
    turned = write_csv(data.parent / "turned.csv", HEADER, blobs(120)[::-1])
    for file in (data, turned):
        assert backtest(file, "--id", "id", out=data.parent / file.stem).exit_code == 0
    assert curves(data.parent / "data") == curves(data.parent / "turned")


def test_text_with_a_test_table_and_no_seed_starts_cold(tmp_path: Path) -> None:
    words = {"bill": "refund charge card fee payment", "bug": "crash error broken screen freeze"}
    rows = [
        [f"{text.split()[n % 5]} {text.split()[n % 3]} number {n}", name]
        for n in range(40)
        for name, text in words.items()
    ]
    table = write_csv(tmp_path / "data.csv", ["text", "label"], rows[:60])
    test = write_csv(tmp_path / "test.csv", ["text", "label"], rows[60:])
    done = backtest(table, "--test", str(test), "--seed-size", "0", kind=("--text", "text"))
    assert done.exit_code == 0, done.output
    assert "held out" not in done.stdout
    points = curves(tmp_path / "out")
    assert points[0]["n_labels"] == "0"
    assert float(points[2]["accuracy"]) > 0.7


def test_models_calibrations_and_control_arms_are_compared_each_with_random_of_its_model(
    data: Path,
) -> None:
    models = "sklearn.linear_model.LogisticRegression?C=0.1,sklearn.naive_bayes.GaussianNB"
    done = backtest(
        data, "--strategy", "margin", "--model", models, "--control", "0,0.5", "--rounds", "1"
    )
    assert done.exit_code == 0, done.output
    arms = {
        arm["strategy"]: arm["baseline"]
        for arm in read_json(data.parent / "out" / "summary.json")["strategies"]
    }
    assert arms == {
        "random LogisticRegression?C=0.1": "random LogisticRegression?C=0.1",
        "random GaussianNB": "random GaussianNB",
        "margin LogisticRegression?C=0.1 control 0": "random LogisticRegression?C=0.1",
        "margin LogisticRegression?C=0.1 control 0.5": "random LogisticRegression?C=0.1",
        "margin GaussianNB control 0": "random GaussianNB",
        "margin GaussianNB control 0.5": "random GaussianNB",
    }


def test_kinds_of_features_are_compared_each_with_random_of_its_own(tmp_path: Path) -> None:
    animals = ("cat", "dog", "horse", "rabbit", "mouse", "cow", "sheep", "goat", "pig", "duck")
    plants = ("rose", "tulip", "oak", "birch", "fern", "daisy", "lily", "grass", "moss", "elm")
    rows = [
        (f"{word} number {place}", label)
        for place in range(4)
        for label, words in (("animal", animals), ("plant", plants))
        for word in words
    ]
    table = write_csv(tmp_path / "data.csv", ["text", "label"], rows)
    kinds = "text?words=none,text?words=wordllama"
    done = backtest(
        table,
        "--features-kind",
        kinds,
        "--strategy",
        "margin",
        "--rounds",
        "1",
        kind=("--text", "text"),
    )
    assert done.exit_code == 0, done.output
    arms = read_json(tmp_path / "out" / "summary.json")["strategies"]
    assert {arm["strategy"]: arm["baseline"] for arm in arms} == {
        "random text?words=none": "random text?words=none",
        "random text?words=wordllama": "random text?words=wordllama",
        "margin text?words=none": "random text?words=none",
        "margin text?words=wordllama": "random text?words=wordllama",
    }
    area = {arm["strategy"]: arm["area"]["accuracy"] for arm in arms}
    assert area["random text?words=wordllama"] != area["random text?words=none"]


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        ((), ("--features", "x", "--text", "y"), "give one of --text, --features and --image"),
        ((), (), "give one of --text, --features and --image"),
        (("--seed-size", "1"), ("--features", "x,y"), "0 starts without labels; else 2 or more"),
        (("--seed-size", "100"), ("--features", "x,y"), "rows are left for pool and seed"),
        (
            ("--strategy", "margins"),
            ("--features", "x,y"),
            "unknown strategy 'margins' (did you mean 'margin'?)",
        ),
        (("--calibration", "magic"), ("--features", "x,y"), "calibrate.method is 'magic'"),
        (
            ("--features-kind", "text?words=glove"),
            ("--features", "x,y"),
            "features.text.words is 'glove'",
        ),
        (
            ("--features-kind", "numeric?size=3"),
            ("--features", "x,y"),
            "--features-kind numeric?size=3: numeric has no values of its own; leave out what follows",
        ),
        (("--control", "2"), ("--features", "x,y"), "query.control_fraction is 2"),
        (
            ("--model", "sklearn.nothing.Here"),
            ("--features", "x,y"),
            "cannot import 'sklearn.nothing'",
        ),
        ((), ("--text", "words"), "no column 'words'"),
        ((), ("--features", "x,z"), "no column 'z'"),
        ((), ("--features", "all", "--id", "nr"), "no column 'nr'"),
        (("--label", "lab"), ("--features", "x,y"), "no column 'lab'"),
        (("--params", "nowhere.yaml"), ("--features", "x,y"), "nowhere.yaml: file not found"),
        (("--params", "."), ("--features", "x,y"), ".: a folder, a file was expected"),
        (
            ("--control", "1"),
            ("--features", "x,y"),
            "backtest: control_fraction + review_fraction is above 1; correct",
        ),
    ],
)
def test_bad_options_are_refused_in_one_line(
    data: Path, words: tuple[str, ...], kind: tuple[str, ...], said: str
) -> None:
    assert said in refused(backtest(data, *words, kind=kind))


def test_bad_tables_are_refused_in_one_line(tmp_path: Path) -> None:
    rows = [list(row) for row in blobs(40)]
    rows[3][3] = ""
    assert "blank.csv:5: empty label" in refused(
        backtest(write_csv(tmp_path / "blank.csv", HEADER, rows))
    )
    assert not (tmp_path / "out").exists()
    rows[3][3], rows[7][1] = "red", "much"
    assert "word.csv:9" in refused(
        backtest(write_csv(tmp_path / "word.csv", HEADER, rows), out=tmp_path / "b")
    )
    alone = [[*row[:3], "red"] for row in rows]
    assert "labels" in refused(
        backtest(write_csv(tmp_path / "alone.csv", HEADER, alone), out=tmp_path / "c")
    )
    assert "file not found" in refused(backtest(tmp_path / "none.csv", out=tmp_path / "d"))


def test_a_round_that_the_gate_would_hold_is_named(data: Path) -> None:
    params = data.parent / "params.yaml"
    text = (Path(module.__file__).parents[2] / "params.yaml").read_text()
    params.write_text(text.replace("hold: [G003, G009]", "hold: [G006]"))
    test = write_csv(
        data.parent / "test.csv", HEADER, [["t-1", 9.0, 9.0, "rare"]]
    )  # a class that the pool has not
    given = [
        str(data),
        "--label",
        "label",
        "--features",
        "x,y",
        "--test",
        str(test),
        "--params",
        str(params),
    ]
    given += [
        "--seed-size",
        "35",
        "--batch",
        "10",
        "--jobs",
        "1",
        "--repeats",
        "1",
        "--out",
        str(data.parent / "held"),
    ]
    told = refused(CliRunner().invoke(module.command, given))
    assert "round 1 is held, G006" in told
    assert "--no-gate" in told


def test_what_the_control_arm_costs_and_tells_stands_in_all_three_tables(data: Path) -> None:
    done = backtest(data, "--strategy", "margin", "--control", "0,0.3,0.5")
    assert done.exit_code == 0, done.output
    out = data.parent / "out"
    rows = read_json(out / "summary.json")["control"]
    assert [row["strategy"] for row in rows] == [
        "margin control 0.3",
        "margin control 0.5",
    ]  # none tells nothing
    assert all(row["costs"]["mean"] is not None for row in rows)  # against none
    assert rows[0]["labels"] < rows[1]["labels"]
    assert all(row["gap_known_to"] > 0 for row in rows)
    for page in (done.stdout, (out / "backtest.md").read_text()):
        assert "## What the control arm tells" in page
        assert "| margin control 0.5 | 0.5" in page
    assert "<td>margin control 0.5</td><td>0.5</td><td>" in (out / "backtest.html").read_text()


def test_answer_times_become_minutes(data: Path) -> None:
    from stages.answers.prodigy import answer_row

    task = {"text": "a", "al_id": "a", "al_batch": "b"}
    times = [100.0 + 6 * n for n in range(12)] + [9000.0 + 6 * n for n in range(3)]
    rows = [
        answer_row(task, label="red", answer="accept", annotator="ann", dataset="d", at=at)
        for at in times
    ]
    (data.parent / "answers.jsonl").write_bytes(jsonl(rows))
    words = (
        "--strategy",
        "margin",
        "--control",
        "0,0.5",
        "--minutes",
        str(data.parent / "answers.jsonl"),
    )
    done = backtest(data, *words, "--target", "0.5")
    assert done.exit_code == 0, done.output
    found = {
        arm["strategy"]: arm
        for arm in read_json(data.parent / "out" / "summary.json")["strategies"]
    }
    arm = found["margin control 0"]
    assert arm["minutes_to_target"] == pytest.approx(
        (arm["labels_to_target"] - 6) * 6.0 / 60, abs=1e-6
    )
    (data.parent / "answers.jsonl").write_bytes(jsonl(rows[:5]))
    assert "only 4 answers with a time" in refused(backtest(data, *words, out=data.parent / "b"))


def test_a_pool_that_is_exhausted_early_is_told(data: Path) -> None:
    done = backtest(data, "--batch", "50", "--rounds", "4")  # 90 rows, 6 of them seed
    assert done.exit_code == 0, done.output
    assert (
        "- A loop ended after 2 of 4 rounds: its pool was exhausted, all areas end there."
        in done.stdout
    )
    same = backtest(
        data, "--test", str(data), out=data.parent / "same"
    )  # what is in the test table is never asked
    assert "- A loop ended after 0 of 2 rounds" in same.stdout


@pytest.mark.slow
def test_a_refused_command_on_a_project_leaves_nothing_in_the_way_of_the_corrected_one(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    driven(small, 0.0)
    monkeypatch.chdir(small.root)
    words = [
        "--project",
        "--rounds",
        "1",
        "--repeats",
        "1",
        "--no-gate",
        "--jobs",
        "1",
        "--out",
        "own",
        "--strategy",
    ]
    assert "unknown strategy 'margins'" in refused(
        CliRunner().invoke(module.command, [*words, "margins"])
    )
    assert CliRunner().invoke(module.command, [*words, "margin"]).exit_code == 0


@pytest.mark.slow
def test_a_project_is_backtested_on_its_own_answers(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = driven(small, 0.0)
    monkeypatch.chdir(small.root)
    words = [
        "--project",
        "--strategy",
        "margin",
        "--batch",
        "4",
        "--repeats",
        "2",
        "--jobs",
        "1",
        "--out",
        "own",
    ]
    done = CliRunner().invoke(module.command, words)
    assert done.exit_code == 0, done.output
    labelled = 18 + len({row["id"] for batch in asked for row in batch})
    known = read_table(small.root / "own" / "labelled.jsonl")
    assert len(known) <= labelled
    assert (
        f"Effective sample: {len(known)} labelled rows of 138; strategies choose among these alone."
        in done.stdout
    )
    ids = set(known.columns["id"])
    loops = [read_json(file) for file in (small.root / "own" / "loops").iterdir()]
    assert loops
    assert all(item in ids for loop in loops for batch in loop["asked"] for item in batch)
    assert "held out" not in done.stdout
    assert "3 of 10 rounds, so that half of the rows are left to choose from." in done.stdout
    assert "give DATA and --label, or --project" in refused(
        CliRunner().invoke(module.command, ["--out", "x"])
    )
