"""The loop as a user runs it: the real `rounds`, the real `dvc`, the real git, on real images."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from rounds import demo as demonstration
from rounds.init import fill_in
from rounds.project import Project
from tests.conftest import ROOT, Small, blobs, dvc, rounds, shell, write_csv

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("loop"),
]  # one worker makes the demo for all
ROUNDS = 2
IDENTITY = {
    "GIT_AUTHOR_NAME": "t",
    "GIT_AUTHOR_EMAIL": "t@example.org",
    "GIT_COMMITTER_NAME": "t",
    "GIT_COMMITTER_EMAIL": "t@example.org",
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo project of two rounds; tests look at it and leave it as it is."""
    root = tmp_path_factory.mktemp("demo") / "digits"
    told = rounds(root.parent, "demo", str(root), "--rounds", str(ROUNDS))
    assert "Active learning reached" in told
    assert len([line for line in told.splitlines() if line.strip()[:1].isdigit()]) == ROUNDS + 1
    return root


def subjects(root: Path) -> list[str]:
    return shell(root, "git", "log", "--format=%s").splitlines()


def test_every_round_is_one_commit_and_the_tree_is_clean(demo: Path) -> None:
    assert [line.partition(":")[0] for line in subjects(demo)[:-1]] == [
        "Round 2",
        "Round 1",
        "Round 0",
    ]
    assert shell(demo, "git", "status", "--porcelain") == ""
    assert "up to date" in dvc(demo, "status")


def test_a_round_commit_holds_answers_metrics_and_the_next_question(demo: Path) -> None:
    files = shell(demo, "git", "show", "--name-only", "--format=", "HEAD").split()
    assert "data/rounds/002/answers/oracle.jsonl" in files
    assert "data/rounds/003/asked.jsonl" in files
    assert {"metrics/validate.json", "plots/learning_curve.json", "dvc.lock"} <= set(files)
    body = shell(demo, "git", "log", "-1", "--format=%b")
    manifest = json.loads((demo / "data/rounds/003/manifest.json").read_text())
    assert manifest["batch_id"] in body


def test_active_learning_is_ahead_of_random_sampling_on_real_images(demo: Path) -> None:
    proof = json.loads((demo / "metrics/validate.json").read_text())
    assert proof["difference"]["active_minus_random"] > 0
    curve = json.loads((demo / "plots/learning_curve.json").read_text())
    assert {row["arm"] for row in curve} == {"active", "random"}


def test_any_round_commit_can_be_cloned_and_reproduced_without_a_human(
    demo: Path, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    shell(tmp_path, "git", "clone", "--quiet", str(demo), str(clone))
    shell(clone, "git", "checkout", "--quiet", "HEAD~1")
    assert "up to date" in dvc(clone, "repro", "--allow-missing", "--dry")
    dvc(clone, "remote", "modify", "--local", "store", "url", str(demo / ".dvc" / "store"))
    dvc(clone, "pull")
    assert "up to date" in dvc(clone, "repro")
    for hash_seed in ("1", "2"):
        dvc(clone, "repro", "--force", "--no-run-cache", PYTHONHASHSEED=hash_seed)
        assert shell(clone, "git", "status", "--porcelain") == ""


def test_the_workflow_for_users_runs_on_a_pull_request_that_brings_answers(
    demo: Path, tmp_path: Path
) -> None:
    """Its own commands in their order, in a clone as a runner has it; installing and commenting
    need a network.
    """
    origin, clone, summary = tmp_path / "origin", tmp_path / "clone", tmp_path / "summary"
    shell(tmp_path, "git", "clone", "--quiet", "--bare", str(demo), str(origin))
    shell(origin, "git", "branch", "answers", "main")
    shell(origin, "git", "update-ref", "refs/heads/main", "main~1")
    shell(tmp_path, "git", "clone", "--quiet", "--branch", "answers", str(origin), str(clone))
    dvc(clone, "remote", "modify", "--local", "store", "url", str(tmp_path / "out of reach"))
    workflow = YAML(typ="safe").load(clone / ".github/workflows/labels.yml")
    assert "data/rounds/**" in workflow["on"]["pull_request"]["paths"]
    commands = [step["run"] for step in workflow["jobs"]["round"]["steps"] if "run" in step]
    assert "pip install" in commands[0]
    assert "gh pr comment" in commands[-1]
    for command in commands[1:-1]:
        words = command.replace("${{ github.base_ref }}", "main")
        shell(clone, "bash", "-e", "-o", "pipefail", "-c", words, GITHUB_STEP_SUMMARY=str(summary))
    assert shell(clone, "git", "status", "--porcelain").split() == [
        "??",
        "summary.md",
    ]  # report.html is ignored
    assert "round 2" in summary.read_text()
    assert "| active accuracy |" in (clone / "summary.md").read_text()
    assert "<html" in (clone / "report.html").read_text()


def test_dvc_shows_metrics_and_plots_between_commits(demo: Path, tmp_path: Path) -> None:
    assert "accuracy" in dvc(demo, "metrics", "diff", "HEAD~1")
    page = tmp_path / "plots"
    dvc(demo, "plots", "diff", "HEAD~2", "HEAD", "--out", str(page))
    html = (page / "index.html").read_text(encoding="utf-8")
    assert "learning_curve" in html
    assert '<script src="http' not in html
    plots = json.loads(dvc(demo, "plots", "show", "--json"))["data"]
    drawn = plots["plots/learning_curve.json"][0]["content"]
    assert {row["arm"] for row in drawn["data"]["values"]} == {"active", "random"}
    assert any(layer["mark"]["type"] == "errorband" for layer in drawn["layer"])


def test_status_names_the_next_command(demo: Path) -> None:
    told = rounds(demo, "status")
    assert "round    3: 0 of 40 rows answered" in told
    assert told.strip().splitlines()[-1] == "next     rounds annotate"


def test_closing_a_round_nobody_answered_is_refused_and_changes_nothing(demo: Path) -> None:
    with pytest.raises(
        AssertionError, match="round 3: 0 of 40 rows are answered; go on with `rounds annotate`"
    ):
        rounds(demo, "close")
    assert shell(demo, "git", "status", "--porcelain") == ""


def test_answers_that_are_committed_are_not_simulated_anew(demo: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    shell(tmp_path, "git", "clone", "--quiet", str(demo), str(clone))
    shutil.copytree(demo / "data/demo", clone / "data/demo", dirs_exist_ok=True)
    rounds(clone, "annotate", "--oracle", "data/demo/oracle.csv")
    answers = "data/rounds/003/answers/oracle.jsonl"
    shell(clone, "git", "add", answers)
    shell(clone, "git", "commit", "--quiet", "-m", "answers", **IDENTITY)
    with pytest.raises(
        AssertionError,
        match="its answers to round 3 are committed, and history is not simulated anew",
    ):
        rounds(clone, "annotate", "--oracle", "data/demo/oracle.csv", "--noise", "0.3")
    assert shell(clone, "git", "status", "--porcelain") == ""


def test_a_demo_whose_pool_is_exhausted_says_so_and_ends(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = 0

    def close(project: Project, **_: object) -> None:
        nonlocal closed
        closed += 1
        shutil.copytree(demo / "metrics", project.root / "metrics", dirs_exist_ok=True)
        left = {
            "batch": {"rows": 40 if closed < 3 else 0},
            "state": "ready" if closed < 3 else "pool exhausted",
        }
        (project.root / "metrics/query.json").write_text(json.dumps(left))

    for name in ("start", "simulate", "dvc", "saving"):
        monkeypatch.setattr(demonstration, name, lambda *_, **__: "")
    monkeypatch.setattr(demonstration, "close", close)
    done = CliRunner().invoke(demonstration.command, [str(tmp_path / "digits"), "--rounds", "9"])
    assert (done.exit_code, closed) == (0, 3)
    assert "no round follows: pool exhausted" in done.stdout.splitlines()


def test_an_interrupted_demo_is_a_project_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demonstration, "close", interrupted)
    root = tmp_path / "digits"
    done = CliRunner().invoke(demonstration.command, [str(root)], env=IDENTITY)
    assert done.exit_code == 1
    remedy = f"it is a project as far as it came (cd {root} && rounds status); for a whole one remove it first"
    assert done.stderr.splitlines()[-1] == f"error: {root}: interrupted; {remedy}"
    assert "rounds close" in rounds(root, "status")


def test_a_demo_needs_an_empty_folder(demo: Path) -> None:
    with pytest.raises(
        AssertionError, match="not an empty folder; name a new one; nothing was changed"
    ):
        rounds(demo.parent, "demo", str(demo))


@pytest.fixture
def started(small: Small, tmp_path: Path) -> Path:
    """A project made by `rounds init` on the small tables, batch 1 issued."""
    root = tmp_path / "started"
    tables = [
        word
        for name in ("pool", "seed", "test")
        for word in (f"--{name}", str(small.root / f"data/{name}.csv"))
    ]
    rounds(tmp_path, "init", str(root), *tables, "--id", "id", **IDENTITY)
    rounds(root, "close", **IDENTITY)
    return root


def test_a_partial_round_returns_its_unanswered_rows_to_the_pool(
    started: Path, small: Small
) -> None:
    rounds(started, "annotate", "--oracle", str(small.root / "oracle.csv"))
    answers = started / "data/rounds/001/answers/oracle.jsonl"
    rows = answers.read_bytes().splitlines(keepends=True)
    answers.write_bytes(b"".join(rows[:30]))
    with pytest.raises(AssertionError, match="30 of 40 rows are answered"):
        rounds(started, "close", **IDENTITY)
    params = (started / "params.yaml").read_text()
    (started / "params.yaml").write_text(params + "\n")
    with pytest.raises(
        AssertionError, match=r"changes that are not this round's: params\.yaml; commit them first"
    ):
        rounds(started, "close", "--partial", **IDENTITY)
    (started / "params.yaml").write_text(params)
    assert "Round 1:" in rounds(started, "close", "--partial", **IDENTITY)
    assert shell(started, "git", "status", "--porcelain") == ""
    accepted = (started / "build/gate/accepted.jsonl").read_text()
    unanswered = [json.loads(row)["al_id"] for row in rows[30:]]
    assert not [item for item in unanswered if f'"id":"{item}"' in accepted]


def run_rounds(root: Path, oracle: Path, count: int) -> dict:
    """Start, then `count` rounds with the simulated annotator; the last metrics."""
    rounds(root, "close", **IDENTITY)
    for _ in range(count):
        rounds(root, "annotate", "--oracle", str(oracle), "--noise", "0.02", "--skip", "0.02")
        rounds(root, "close", **IDENTITY)
    assert len(subjects(root)) == count + 2
    assert "up to date" in dvc(root, "status")
    return json.loads((root / "metrics/validate.json").read_text())


def test_a_text_project_on_real_questions_goes_three_rounds(
    shared_data: Path, tmp_path: Path
) -> None:
    import pandas as pd

    table = pd.read_csv(shared_data / "banking77/train.csv", dtype=str, keep_default_na=False)
    table = table.drop_duplicates("text").sample(frac=1, random_state=0)
    table[:200].to_csv(tmp_path / "seed.csv", index=False)
    table[200:][["text"]].to_csv(tmp_path / "pool.csv", index=False)
    table[200:].to_csv(tmp_path / "oracle.csv", index=False)
    test = pd.read_csv(
        shared_data / "banking77/test.csv", dtype=str, keep_default_na=False
    ).drop_duplicates("text")
    test.to_csv(tmp_path / "test.csv", index=False)
    root = tmp_path / "banking"
    tables = [
        word
        for name in ("pool", "seed", "test")
        for word in (f"--{name}", str(tmp_path / f"{name}.csv"))
    ]
    rounds(tmp_path, "init", str(root), *tables, "--text", "text", **IDENTITY)
    proof = run_rounds(root, tmp_path / "oracle.csv", 3)
    assert proof["round"] == 3
    assert proof["active"]["accuracy"] > 0.5


def test_a_numeric_project_on_real_mail_goes_three_rounds(
    shared_data: Path, tmp_path: Path
) -> None:
    import pandas as pd

    table = pd.read_csv(shared_data / "tabular/spambase.csv", dtype=str, keep_default_na=False)
    table = (
        table.rename(columns={"y": "label"}).sample(frac=1, random_state=0).reset_index(drop=True)
    )
    table.insert(0, "id", [f"m-{row}" for row in range(len(table))])
    parts = {
        "seed": table[:60],
        "test": table[60:1060],
        "pool": table[1060:].drop(columns="label"),
        "oracle": table,
    }
    for name, part in parts.items():
        part.to_csv(tmp_path / f"{name}.csv", index=False)
    root = tmp_path / "mail"
    tables = [
        word
        for name in ("pool", "seed", "test")
        for word in (f"--{name}", str(tmp_path / f"{name}.csv"))
    ]
    rounds(tmp_path, "init", str(root), *tables, "--id", "id", **IDENTITY)
    proof = run_rounds(root, tmp_path / "oracle.csv", 3)
    assert proof["active"]["accuracy"] > 0.85


def test_the_clone_itself_is_a_project_that_dvc_can_run(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    clone = tmp_path / "clone"
    for name in filter(None, listed.stdout.decode().split("\0")):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        if (root / name).is_file():
            (clone / name).write_bytes((root / name).read_bytes())
    shell(clone, "git", "init", "--quiet")
    dvc(clone, "repro", "export_prodigy")
    assert len((clone / "build/export/asked.jsonl").read_text().splitlines()) == 40
    (clone / "data/a seed.csv").write_bytes((clone / "data/demo/seed.csv").read_bytes())
    fill_in(clone / "params.yaml", {("data", "seed"): "data/a seed.csv"})
    assert "clean_seed: 50 labels" in dvc(clone, "repro", "clean_seed"), (
        "a blank in a path is none between words"
    )


def test_readmes_round_in_five_commands_runs_as_it_stands(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"## A round in five commands\n\n```sh\n(.*?)```", readme, re.DOTALL)
    assert block
    lines = [line.partition("#")[0].strip() for line in block[1].splitlines()]
    assert len(lines) == 5
    rows = [
        (f"the {label} one, {word} number {n}", label)
        for n, (_, word, _, label) in enumerate(blobs(150))
    ]
    for name, part in {"seed": rows[:20], "test": rows[20:50], "oracle": rows}.items():
        write_csv(tmp_path / f"{name}.csv", ["question", "intent"], part)
    write_csv(tmp_path / "pool.csv", ["question"], [row[:1] for row in rows[50:]])
    script = "\n".join(lines).replace("rounds annotate", "rounds annotate --oracle ../oracle.csv")
    told = shell(tmp_path, "bash", "-euc", script, **IDENTITY)
    assert "Round 1: " in told
    assert "index.html" in told
