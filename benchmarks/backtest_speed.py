"""Loops per minute of `rounds backtest` beside a plain modAL + scikit-learn loop, in the same run.

    python -m benchmarks.backtest_speed [--data FOLDER] [--repeats 4] [--jobs 2] [--sets
    digits,banking77]

Both replay random and margin with the same features, model, seed size and batch, and measure
accuracy and macro-F1 of a held-out quarter in every round. The plain loop makes its features once,
then fits and asks, nothing else: no gate, no calibration, no control arm; a second one has
scikit-learn's calibration by cross-validation, as a replay has its own. CPU seconds count what a
busy machine does not change. All have one BLAS thread a process: with more, small fits are several
times slower.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SEED, BATCH, ROUNDS = 50, 40, 10


def plain(name: str, file: Path, repeats: int, *, calibrated: bool) -> None:
    """The loop that a user would write: scikit-learn's estimator, modAL's margin sampling, all
    features up front.
    """
    import pandas as pd
    from modAL.uncertainty import margin_sampling
    from scipy.sparse import hstack
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score
    from sklearn.model_selection import KFold, train_test_split
    from sklearn.preprocessing import StandardScaler, normalize

    frame = pd.read_csv(file, keep_default_na=False)
    y = frame.pop("label").astype(str).to_numpy()
    if name == "digits":
        x, strength = StandardScaler().fit_transform(frame.to_numpy(float)), 1.0
    else:
        words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, dtype=np.float32)
        chars = TfidfVectorizer(
            analyzer="char_wb",
            ngram_range=(2, 5),
            min_df=2,
            max_features=50_000,
            sublinear_tf=True,
            dtype=np.float32,
        )
        parts = [part.fit_transform(frame["text"]) for part in (words, chars)]
        x, strength = normalize(hstack(parts, format="csr")), 100.0
    for repeat in range(repeats):
        for strategy in ("random", "margin"):
            rng = np.random.default_rng(repeat)
            pool, test = train_test_split(
                np.arange(len(y)), test_size=0.25, random_state=repeat, stratify=y
            )
            labelled = rng.choice(pool, SEED, replace=False)
            for turn in range(ROUNDS + 1):
                model = LogisticRegression(C=strength, max_iter=1000)
                if (
                    calibrated
                ):  # folds as a list: as a number they are refused where a class has fewer rows
                    folds = list(KFold(5, shuffle=True, random_state=repeat).split(labelled))
                    model = CalibratedClassifierCV(model, cv=folds, ensemble=False)
                model.fit(x[labelled], y[labelled])
                predicted = model.predict(x[test])
                scores = (
                    (predicted == y[test]).mean(),
                    f1_score(y[test], predicted, average="macro", zero_division=0),
                )
                assert min(scores) >= 0
                if turn == ROUNDS:
                    break
                free = np.setdiff1d(pool, labelled)
                picks = (
                    margin_sampling(model, x[free], n_instances=BATCH)[0]
                    if strategy == "margin"
                    else None
                )
                picks = (
                    rng.choice(len(free), BATCH, replace=False)
                    if picks is None
                    else np.asarray(picks).ravel()
                )
                labelled = np.concatenate([labelled, free[picks]])


def table(name: str, folder: Path, data: Path) -> Path:
    """The set as a CSV file."""
    if name == "banking77":
        return data / "banking77" / "train.csv"
    from sklearn.datasets import load_digits

    rows, labels = load_digits(return_X_y=True)
    with (folder / "digits.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"pixel{pixel}" for pixel in range(64)), "label"])
        writer.writerows([*row, label] for row, label in zip(rows, labels, strict=True))
    return folder / "digits.csv"


def measured(*words: str) -> tuple[float, float]:
    """Wall and CPU seconds of a command."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(words, check=True, capture_output=True, env=environment)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Time the four in turn, each in processes of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--sets", default="digits,banking77")
    parser.add_argument(
        "--plain", nargs=2, help="Run the plain loop on a set and its file (used by this program)."
    )
    parser.add_argument(
        "--calibrated", action="store_true", help="With --plain: calibrate (used by this program)."
    )
    options = parser.parse_args()
    if options.plain:
        plain(
            options.plain[0], Path(options.plain[1]), options.repeats, calibrated=options.calibrated
        )
        return
    print(f"{'set':<10} {'what':<34} {'loops/min':>9} {'CPU s/loop':>10}")
    for name in options.sets.split(","):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            file = table(name, folder, options.data)
            kind = ["--features", "all"] if name == "digits" else ["--text", "text"]
            ours = [
                sys.executable,
                "-m",
                "rounds",
                "backtest",
                str(file),
                "--label",
                "label",
                *kind,
                "--strategy",
            ]
            ours += [
                "margin",
                "--seed-size",
                str(SEED),
                "--batch",
                str(BATCH),
                "--rounds",
                str(ROUNDS),
            ]
            ours += ["--repeats", str(options.repeats), "--jobs", str(options.jobs)]
            theirs = [
                sys.executable,
                "-m",
                "benchmarks.backtest_speed",
                "--repeats",
                str(options.repeats),
            ]
            for what, words in (
                ("plain modAL + scikit-learn", [*theirs, "--plain", name, str(file)]),
                ("the same, calibrated", [*theirs, "--calibrated", "--plain", name, str(file)]),
                (
                    f"rounds backtest --jobs {options.jobs} --no-gate",
                    [*ours, "--no-gate", "--out", str(folder / "a")],
                ),
                (f"rounds backtest --jobs {options.jobs}", [*ours, "--out", str(folder / "b")]),
            ):
                wall, cpu = measured(*words)
                loops = 2 * options.repeats
                print(
                    f"{name:<10} {what:<34} {60 * loops / wall:9.1f} {cpu / loops:10.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
