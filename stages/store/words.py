"""Word vectors: what the words of a text mean, as far as a model that has read much else knows it.

The package wordllama (MIT licence) holds a tokenizer and one vector for each of its tokens, learnt
so that the mean of a text's vectors says what the text is about. Both files are read from the
installed package: nothing is downloaded, and no code of it runs.
Source: Miller, "WordLlama: recycled token embeddings from large language models" (2024).
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.contract.arrays import Matrix
from stages.contract.errors import PipelineError
from stages.contract.params import WORD_DIMS
from stages.contract.progress import blocks

PACKAGE = "wordllama"
VERSION = "0.4.0.post1"
WEIGHTS = "weights/l2_supercat_256.safetensors"
TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"
SHA256 = {  # of that version: features must not change with what else is installed
    WEIGHTS: "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5",
    TOKENIZER: "93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68",
}
TOKENS = 32_000  # rows of the weights
PARAM = "params.yaml features.text.words"
REMEDY = f"pip install {PACKAGE}=={VERSION}, or set it to none"


def is_installed() -> bool:
    """Whether the package is on this machine; a few platforms have no wheel of it."""
    return find_spec(PACKAGE) is not None


def tokens(texts: list[str]) -> Matrix:
    """How often each token occurs in each text, (n, TOKENS) CSR float32.

    A row is scaled so that its product with `word_vectors` has unit length. It depends on its text
    alone, to the last bit.
    """
    import scipy.sparse as sp

    word_vectors()  # what is missing is refused before a bar begins
    _tokenizer()
    made = [_tokens_of(texts[block]) for block in blocks("word vectors", len(texts))]
    return sp.csr_matrix(sp.vstack(made, format="csr"))


def _tokens_of(texts: list[str]) -> Matrix:
    import scipy.sparse as sp

    encodings = _tokenizer().encode_batch_fast(texts, add_special_tokens=False)
    ids = [np.asarray(encoding.ids, dtype=np.int32) for encoding in encodings]
    ends = np.cumsum([0, *map(len, ids)])
    columns = np.concatenate([*ids, np.empty(0, np.int32)])
    ones = np.ones(len(columns), np.float32)
    counts = sp.csr_matrix((ones, columns, ends), shape=(len(texts), TOKENS))
    counts.sum_duplicates()
    lengths = np.linalg.norm((counts @ word_vectors()).astype(np.float64), axis=1)
    counts.data /= np.repeat(np.maximum(lengths, 1e-12), np.diff(counts.indptr)).astype(np.float32)
    return counts


@lru_cache(maxsize=1)
def word_vectors() -> NDArray[np.float32]:
    """The vector of each token, (TOKENS, WORD_DIMS)."""
    from safetensors.numpy import load

    vectors = load(_contents(WEIGHTS))["embedding.weight"].astype(np.float32)
    assert vectors.shape == (TOKENS, WORD_DIMS)  # the file's hash is checked
    return np.ascontiguousarray(vectors)


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    # Stages split their work into processes themselves, and the library warns when these fork.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_buffer(_contents(TOKENIZER))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _contents(name: str) -> bytes:
    """A file of the package. Raises PipelineError without it, and for another version's."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise PipelineError(PARAM, f"{PACKAGE} is not installed here", REMEDY)
    path = Path(spec.submodule_search_locations[0]) / name
    data = path.read_bytes() if path.is_file() else b""
    if path.suffix == ".json":  # the wheel for Windows ends its lines with two characters
        data = data.replace(b"\r\n", b"\n")
    if hashlib.sha256(data).hexdigest() != SHA256[name]:
        what = f"the installed {PACKAGE} has other word vectors than version {VERSION}"
        raise PipelineError(PARAM, what, REMEDY)
    return data


def grams_and_tokens(raw: Matrix) -> tuple[Matrix, Matrix]:
    """The n-grams of raw features, and the tokens that stand behind them."""
    return raw[:, :-TOKENS], raw[:, -TOKENS:]


def centre_and_spread(tokens_of_texts: Matrix) -> tuple[NDArray[np.float32], float]:
    """The mean vector of some texts, and the root of their mean squared distance from it."""
    vectors = (tokens_of_texts @ word_vectors()).astype(np.float64)
    centre = vectors.mean(axis=0).astype(np.float32)
    squares = ((vectors - centre) ** 2).sum(axis=1)
    return centre, max(float(np.sqrt(squares.mean())), 1e-12)


def placed(
    tokens_of_texts: Matrix, centre: NDArray[np.float32], spread: float, *, beside: Matrix
) -> Matrix:
    """The vectors of texts around the mean one, in units of the spread; then other columns."""
    import scipy.sparse as sp

    vectors = (tokens_of_texts @ word_vectors() - centre) / np.float32(spread)
    return sp.csr_matrix(sp.hstack([sp.csr_matrix(vectors), beside], format="csr"))
