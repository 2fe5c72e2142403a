"""What `rounds close` and `dvc repro` of one round cost, beside the same stages in one process.

    python benchmarks/round.py [--data FOLDER] [--repeats 3]

Measured: a project with one answered round; every stage but featurize and clean_seed runs, as in
any round. `stage` is the stage's own process; `dvc` is what DVC adds; `floor` is all stages in one
process, imports included; `close` is the whole command, commit and push to the store included;
`next card` is the time from the last answer until `annotate --keep-going` shows the next batch, and
its floor is the stages that the batch depends on in one process.
Each is run in turn with its floor, and ratios are of medians. Processor time is that of the whole
tree of processes, and the figure to look at where others use the machine.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click
import httpx
from ruamel.yaml import YAML

FIVE_ANSWERS = 20  # seconds that a person needs for five items
ROOT = Path(__file__).parent.parent
NOT_IN_A_ROUND = {"featurize", "clean_seed"}  # the tables do not change
NOT_FOR_THE_BATCH = {"validate", "package"}
ENV = {
    **os.environ,
    "PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"],
    **{
        f"GIT_{who}_{what}": "bench@localhost"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    },
}


def run(cwd: Path, *words: str) -> float:
    """Wall seconds of a command that must succeed."""
    start = time.perf_counter()
    done = subprocess.run(words, cwd=cwd, env=ENV, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}\n{done.stdout}\n{done.stderr}")
    return time.perf_counter() - start


def rounds(cwd: Path, *words: str) -> None:
    """Run the `rounds` command."""
    run(cwd, sys.executable, "-m", "rounds", *words)


def digits(folder: Path) -> Path:
    """The demo's project after one answered round."""
    root = folder / "digits"
    run(folder, sys.executable, "-m", "rounds", "demo", str(root), "--rounds", "1")
    rounds(root, "annotate", "--oracle", "data/demo/oracle.csv")
    return root


def banking77(folder: Path, data: Path) -> Path:
    """200 labelled questions of 77 intents as the seed, one answered round."""
    import pandas as pd

    train = pd.read_csv(
        data / "banking77/train.csv", dtype=str, keep_default_na=False
    ).drop_duplicates("text")
    train = train.sample(frac=1, random_state=0)
    train[:200].to_csv(folder / "seed.csv", index=False)
    train[200:][["text"]].to_csv(folder / "pool.csv", index=False)
    train[200:].to_csv(folder / "oracle.csv", index=False)
    shutil.copy(data / "banking77/test.csv", folder / "test.csv")
    root = folder / "banking77"
    tables = [
        word
        for name in ("pool", "seed", "test")
        for word in (f"--{name}", str(folder / f"{name}.csv"))
    ]
    rounds(folder, "init", str(root), *tables, "--text", "text")
    rounds(root, "close")
    rounds(root, "annotate", "--oracle", str(folder / "oracle.csv"))
    return root


def commands(root: Path) -> dict[str, list[str]]:
    """The command line of every stage, params filled in."""
    yaml = YAML(typ="safe")
    params, stages = yaml.load(root / "params.yaml"), yaml.load(root / "dvc.yaml")["stages"]

    def value(word: str) -> str:
        if not word.startswith("${"):
            return word
        section, key = word[2:-1].split(".")
        return str(params[section][key])

    return {name: [value(word) for word in shlex.split(stages[name]["cmd"])] for name in stages}


FLOOR = """
import importlib, sys
import shlex
for line in sys.stdin:
    name, *words = line.split()
    importlib.import_module("stages." + name).main.main(words, standalone_mode=False)
"""


@dataclass(frozen=True)
class Cost:
    """Seconds of wall and of processor time."""

    wall: float
    processor: float


def cost_of(words: list[str], cwd: Path, script: str = "") -> Cost:
    """What a command that must succeed costs, with all processes that it waits for."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(
            words, cwd=cwd, env=ENV, stdin=subprocess.PIPE, stdout=out, stderr=out
        )
        assert process.stdin
        process.stdin.write(script.encode())
        process.stdin.close()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if status:
            out.seek(0)
            sys.exit(f"{' '.join(words)[:200]}\n{out.read().decode()}")
    return Cost(time.perf_counter() - start, used.ru_utime + used.ru_stime)


def close(root: Path) -> Cost:
    """`rounds close`, in a copy of the project."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / root.name
        shutil.copytree(root, copy, symlinks=True)
        return cost_of([sys.executable, "-m", "rounds", "close"], copy)


def floor_of(root: Path, lines: dict[str, list[str]]) -> Cost:
    """Stages in one process."""
    script = "\n".join(" ".join([name, *words[3:]]) for name, words in lines.items())
    return cost_of([sys.executable, "-c", FLOOR], root, script)


def next_card(root: Path) -> float:
    """Wall seconds from the last answer to the next card, in a copy of the project."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / root.name
        shutil.copytree(root, copy, symlinks=True)
        answers = max(copy.glob("data/rounds/*/answers/oracle.jsonl"))
        rows = answers.read_text("utf-8").splitlines(keepends=True)
        last = json.loads(rows[-1])
        answers.write_text("".join(rows[:-1]), "utf-8")
        words = [sys.executable, "-m", "rounds", "annotate", "--keep-going", "--port", "0"]
        page = subprocess.Popen(words, cwd=copy, env=ENV, stderr=subprocess.PIPE, text=True)
        assert page.stderr
        served = next(filter(None, (re.search(r"http://\S+/", line) for line in page.stderr)))
        try:
            return _answered_to_shown(served.group(), last["accept"][0])
        finally:
            page.send_signal(signal.SIGINT)
            page.communicate()


def _answered_to_shown(url: str, label: str) -> float:
    """Answer the only open item of the page, after what a person needs for five; then wait."""
    with httpx.Client(base_url=url, timeout=600) as web:
        state = web.get("api/state", params={"session": "ann"}).json()
        time.sleep(FIVE_ANSWERS)
        card = state["card"]
        sent = {
            "session": "ann",
            "batch": state["batch"],
            "position": card["position"],
            "answer": "accept",
            "label": label,
            "flagged": False,
            "key": "the-last-one",
            "replaces": card["key"],
        }
        start = time.perf_counter()
        web.post("api/answer", json=sent).raise_for_status()
        while web.get("api/state", params={"session": "ann"}).json()["batch"] == state["batch"]:
            time.sleep(0.05)
        return time.perf_counter() - start


def measure(root: Path, repeats: int) -> None:
    """Print the table of one project."""
    lines = commands(root)
    lines = {name: words for name, words in lines.items() if name not in NOT_IN_A_ROUND}
    # What was run once, DVC would not run again in a close.
    answered = Path(shutil.copytree(root, root.parent / "answered" / root.name, symlinks=True))
    own = {
        name: statistics.median(run(root, *words) for _ in range(repeats))
        for name, words in lines.items()
    }
    whole = []
    for _ in range(repeats):
        run(root, "git", "checkout", "--quiet", "dvc.lock")
        whole.append(run(root, sys.executable, "-m", "dvc", "repro", "--no-run-cache"))
    repro = statistics.median(whole)
    noop = statistics.median(
        run(root, sys.executable, "-m", "dvc", "repro") for _ in range(repeats)
    )
    pairs = [(close(answered), floor_of(root, lines)) for _ in range(repeats)]
    closes, floors = zip(*pairs, strict=True)
    closing, floor = (statistics.median(cost.wall for cost in costs) for costs in (closes, floors))
    used = [statistics.median(cost.processor for cost in costs) for costs in (closes, floors)]
    for_the_batch = {name: lines[name] for name in lines if name not in NOT_FOR_THE_BATCH}
    shown = [(next_card(answered), floor_of(root, for_the_batch).wall) for _ in range(repeats)]
    card, floor_of_card = (statistics.median(seconds) for seconds in zip(*shown, strict=True))
    print(f"\n### {root.name}\n\n| what | seconds | share of repro |\n|---|---|---|")
    for name, seconds in own.items():
        print(f"| stage {name} | {seconds:.2f} | {seconds / repro:.0%} |")
    print(f"| dvc itself | {repro - sum(own.values()):.2f} | {1 - sum(own.values()) / repro:.0%} |")
    print(f"| **one round, dvc repro** | **{repro:.2f}** | 100% |")
    print(f"| dvc repro with nothing to do | {noop:.2f} | {noop / repro:.0%} |")
    print(f"| floor: one process | {floor:.2f} | {floor / repro:.0%} |")
    print(f"| **rounds close** | **{closing:.2f}** | {closing / repro:.0%} |")
    print(f"| last answer to next card | {card:.2f} | {card / repro:.0%} |")
    print(f"| its floor | {floor_of_card:.2f} | {floor_of_card / repro:.0%} |")
    ratio = f"{closing / floor:.2f} (wall), {used[0] / used[1]:.2f} (processor)"
    print(
        f"\nrounds close / floor: {ratio}; next card / floor: {card / floor_of_card:.2f}",
        flush=True,
    )


@click.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=ROOT.parent / "shared" / "data",
    show_default=False,
)
@click.option("--repeats", default=3, show_default=True)
def main(data: Path, repeats: int) -> None:
    """Build the projects, measure, print Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        measure(digits(Path(folder)), repeats)
        if data.is_dir():
            measure(banking77(Path(folder), data), repeats)
        else:
            print(f"\nno real data at {data}: banking77 left out")


if __name__ == "__main__":
    main()
