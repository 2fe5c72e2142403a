"""What examples can be: functions that turn the small project of numbers into one of texts, images,
vectors, or a pool in parts.
"""

from __future__ import annotations

import base64
import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import Small, write_csv

TEXTS = ("alpha beta", "gamma delta", "epsilon zeta")
WORDS = ("red apple", "green pear", "blue plum")
COLOURS = {"red": (200, 60, 60), "green": (60, 200, 60), "blue": (60, 60, 200)}
TABLES = ("pool", "seed", "test")


def rows_of(small: Small, name: str) -> list[dict[str, str]]:
    """The rows of one of the three tables."""
    with (small.root / "data" / f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def replace_content(small: Small, column: str, cells: dict[str, str]) -> None:
    """Give every row of the three tables one column of content. cells: by id."""
    for name in TABLES:
        label = ["label"] if name != "pool" else []
        table = [
            [row["id"], cells[row["id"]], *(row[one] for one in label)]
            for row in rows_of(small, name)
        ]
        write_csv(small.root / "data" / f"{name}.csv", ["id", column, *label], table)


def truth_of(small: Small) -> dict[str, str]:
    """The class of each id."""
    return {row[0]: row[3] for row in small.rows}


def as_they_are(_small: Small) -> None:
    """Numbers in one table."""


def use_texts(small: Small, **features: object) -> None:
    """Make the project one of texts, whose words tell the class, mostly."""
    rng = np.random.default_rng(1)
    texts = {}
    for name in TABLES:
        for number, row in enumerate(rows_of(small, name)):
            word = WORDS[small.labels.index(truth_of(small)[row["id"]])]
            texts[row["id"]] = f"{word} {TEXTS[rng.integers(3)]}, no {number} of\n'{name}'"
    replace_content(small, "note", texts)
    changes = {("data", "text"): "note", ("features", "kind"): "text"}
    small.set(changes | {("features", "text", name): value for name, value in features.items()})


def cut_in_parts(small: Small) -> None:
    """Turn the pool into a folder of three parts of three formats."""
    table = pd.read_csv(small.root / "data" / "pool.csv", dtype=str, keep_default_na=False)
    folder = small.root / "data" / "parts"
    folder.mkdir()
    table[:50].to_csv(folder / "a.csv", index=False)
    table[50:90].to_parquet(folder / "b.parquet", index=False)
    table[90:].to_json(folder / "c.jsonl", orient="records", lines=True)
    small.set({("data", "pool"): "data/parts", ("compute", "n_jobs"): 1})


def with_hashing(small: Small) -> None:
    """Texts whose n-grams are hashed."""
    use_texts(small, hashing=1024)


def texts_in_parts(small: Small) -> None:
    """The same in parts."""
    use_texts(small, hashing=1024)
    cut_in_parts(small)


def with_words(small: Small) -> None:
    """Texts with word vectors beside their n-grams."""
    use_texts(small, words="wordllama")


def words_in_parts(small: Small) -> None:
    """The same in parts."""
    use_texts(small, hashing=1024, words="wordllama")
    cut_in_parts(small)


def with_custom(small: Small) -> None:
    """A transformer of the user's own."""
    custom = {"path": "sklearn.preprocessing.QuantileTransformer", "params": {"n_quantiles": 20}}
    small.set({("features", "kind"): "custom", ("features", "custom"): custom})


def use_images(small: Small) -> None:
    """Make the project one of coloured images: of every second row a file, else a data URI."""
    from PIL import Image

    rng = np.random.default_rng(2)
    folder = small.root / "data" / "images"
    folder.mkdir()
    cells = {}
    for number, (item, label) in enumerate(truth_of(small).items()):
        shade = np.array(COLOURS[label]) + rng.normal(0, 40, (6, 6, 3))
        file = io.BytesIO()
        Image.fromarray(shade.clip(0, 255).astype(np.uint8)).save(file, "PNG")
        if number % 2:
            cells[item] = f"{item}.png"
            (folder / cells[item]).write_bytes(file.getvalue())
        else:
            code = base64.b64encode(file.getvalue()).decode()
            cells[item] = f"data:image/png;base64,{code}"
    replace_content(small, "scan", cells)
    small.set({
        ("data", "image"): "scan", ("data", "images"): "data/images", ("features", "kind"): "image",
        ("features", "image", "mode"): "RGB",
    })  # fmt: skip


def images_in_parts(small: Small) -> None:
    """The same in parts."""
    use_images(small)
    cut_in_parts(small)


def make_embedding(folder: Path) -> None:
    """A tiny embedding model in a folder; skips the test where model2vec is not installed."""
    model2vec = pytest.importorskip("model2vec")
    tokenizers = pytest.importorskip("tokenizers")
    words = ["[UNK]", "[PAD]", *" ".join((*WORDS, *TEXTS)).split()]
    vocabulary = {word: place for place, word in enumerate(words)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    vectors = np.random.default_rng(0).normal(size=(len(words), 6)).astype(np.float32)
    model2vec.StaticModel(vectors, tokenizer).save_pretrained(str(folder))


def with_embedding(small: Small) -> None:
    """Texts as an embedding model sees them."""
    use_texts(small)
    make_embedding(small.root / "model")
    small.set({
        ("features", "kind"): "embedding", ("features", "embedding", "model"): "model",
    })  # fmt: skip


def embedding_in_parts(small: Small) -> None:
    """The same in parts."""
    with_embedding(small)
    cut_in_parts(small)


def with_vectors(small: Small, **features: object) -> None:
    """Vectors that were computed before, in Parquet. features: how params name them."""
    for name in TABLES:
        table = pd.DataFrame(rows_of(small, name))
        points = table[["x", "y"]].to_numpy(dtype=np.float32)
        table["vector"] = list(points)
        table.drop(columns=["x", "y"]).to_parquet(small.root / "data" / f"{name}.parquet")
        small.set({("data", name): f"data/{name}.parquet"})
    named = features or {"columns": ["vector"]}
    changes = {("features", name): value for name, value in named.items()}
    small.set({("features", "kind"): "precomputed", **changes})
