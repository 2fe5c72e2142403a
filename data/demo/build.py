"""Build the demo's tables from scikit-learn's handwritten digits: real images, as PNG data URIs.

writes  pool.csv (id, image), seed.csv and test.csv (id, image, label), oracle.csv (id, label),
        beside this file

One seed label in ten is wrong on purpose, so that clean_seed has something to find.
"""

from __future__ import annotations

import base64
import csv
import io
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

SEED_ROWS, TEST_ROWS, WRONG, SCALE = 50, 500, 5, 4


def data_uri(pixels: np.ndarray) -> str:
    """An 8 x 8 image of values 0 to 16 as a PNG data URI, each pixel drawn SCALE x SCALE."""
    grey = np.kron(np.round(pixels * 255 / 16), np.ones((SCALE, SCALE))).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(255 - grey, mode="L").save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def write(name: str, header: list[str], rows: list[list[str]]) -> None:
    """A CSV file beside this one."""
    with (Path(__file__).parent / name).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def main() -> None:
    """Shuffle with a fixed seed, split, plant the wrong labels, write."""
    digits = load_digits()
    rng = np.random.default_rng(20260101)
    order = rng.permutation(len(digits.images))
    images = [data_uri(digits.images[row]) for row in order]
    labels = [str(digits.target[row]) for row in order]
    ids = [f"digit-{number:04d}" for number in range(len(order))]
    first, second = TEST_ROWS, TEST_ROWS + SEED_ROWS
    seed_labels = labels[first:second]
    for row in rng.choice(SEED_ROWS, size=WRONG, replace=False):
        seed_labels[row] = str((int(seed_labels[row]) + int(rng.integers(1, 10))) % 10)
    table = [list(row) for row in zip(ids, images, labels, strict=True)]
    write("test.csv", ["id", "image", "label"], table[:first])
    seed = [[*row[:2], label] for row, label in zip(table[first:second], seed_labels, strict=True)]
    write("seed.csv", ["id", "image", "label"], seed)
    write("pool.csv", ["id", "image"], [row[:2] for row in table[second:]])
    write("oracle.csv", ["id", "label"], [[row[0], row[2]] for row in table[first:]])


if __name__ == "__main__":
    main()
