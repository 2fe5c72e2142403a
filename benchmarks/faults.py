"""The long run of faults on purpose; tests/faults does the same with fewer.

python benchmarks/faults.py --kills 200 --seed 0 --out docs/faults.json
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.faults.lives import Report, clone_faults, compare, live, make_project  # noqa: E402 - the project's root comes first


def main() -> None:
    """Disturb projects until enough faults were tried, clone a calm one at each round; write the
    counts.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--clones", type=int, default=0, help="rounds of a project that is cloned at each of them"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    report = Report()
    results: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as name:
        template = make_project(Path(name) / "template").parent
        if options.clones:
            cloned = shutil.copytree(template, Path(name) / "cloned") / "project"
            live(cloned, options.clones, report, lambda: 0, rng, {})
            results |= {
                "clones": options.clones + 1,
                "clones_wrong": clone_faults(cloned, Path(name)),
            }
        if options.kills:
            disturbed(template, Path(name), options, report, rng)
    results |= {
        "faults": dict(sorted(report.faults.items())), "in": dict(sorted(report.commands.items())),
        "tried": report.faults.total(), "answers_lost": report.answers_lost,
        "needed_a_person": report.needed_a_person, "dvc_repaired": report.dvc_repaired,
        "differences": report.differences,
    }  # fmt: skip
    print(json.dumps(results, indent=1))
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")


def disturbed(
    template: Path, folder: Path, options: argparse.Namespace, report: Report, rng: random.Random
) -> None:
    """Let projects live under faults until `options.kills` were tried, or one is not as it should
    be.
    """
    calm = shutil.copytree(template, folder / "calm") / "project"
    pace: dict[str, float] = {}
    live(calm, options.rounds, report, lambda: 0, rng, pace)
    while (
        report.faults.total() < options.kills
        and not report.needed_a_person
        and not report.differences
    ):
        shaken = shutil.copytree(template, folder / "shaken") / "project"
        live(shaken, options.rounds, report, lambda: rng.randint(4, 14), rng, pace)
        if not report.needed_a_person:
            compare(calm, shaken, report)
        outcome = report.needed_a_person or report.differences or "all well"
        print(f"{report.faults.total()} faults, {outcome}", flush=True)
        shutil.rmtree(shaken.parent)


if __name__ == "__main__":
    main()
