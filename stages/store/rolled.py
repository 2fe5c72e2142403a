"""Hashed n-grams of many texts at once: by arithmetic on arrays of characters, not text by text.

The n-grams are those of scikit-learn's analysers (`word`, and `char_wb`: characters within words),
up to collisions of hashes. Reading them this way takes a twentieth of the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from stages.contract.arrays import Ints, Mask, Matrix
from stages.contract.params import TextFeatures
from stages.contract.progress import progress

Codes = NDArray[np.uint64]
CHARACTERS = 2_000_000  # read at a time, which bounds memory
BASE = np.uint64(0x9E3779B97F4A7C15)  # of the polynomial that is an n-gram's hash; odd
MIXER = np.uint64(0xD6E8FEB86659FD93)  # odd: spreads each bit of a hash to the upper ones


def rolled(texts: list[str], options: TextFeatures, bits: int) -> Matrix:
    """1 + ln(count) of every n-gram, hashed into 2**bits columns, (n, 2**bits) CSR float32.

    As `hashed` (stages/store/ngrams.py), but words and characters share the columns.
    Source: Karp, Rabin, "Efficient randomized pattern-matching algorithms" (1987).
    """
    import scipy.sparse as sp

    padded = [f" {' '.join(text.lower().split())} " for text in texts]
    blocks = []
    with progress("n-grams", len(texts), "text") as bar:
        for block in _in_blocks(padded):
            blocks.append(_counted(padded[block], options, bits))
            bar.update(block.stop - block.start)
    counts = sp.csr_matrix(sp.vstack(blocks, format="csr"))
    counts.data = 1 + np.log(counts.data)
    return counts


def repeated_columns(counts: Matrix, least: int) -> Matrix:
    """The columns that hold something in `least` rows or more, the others left out."""
    import scipy.sparse as sp

    rows_with = np.bincount(counts.indices, minlength=counts.shape[1])
    kept = rows_with >= least
    number = np.cumsum(kept) - 1
    cells = kept[counts.indices]
    starts = np.concatenate([[0], np.cumsum(cells)])[counts.indptr]
    parts = (counts.data[cells], number[counts.indices[cells]], starts)
    return sp.csr_matrix(parts, shape=(counts.shape[0], int(kept.sum())))


def _in_blocks(texts: list[str]) -> Iterator[slice]:
    """Slices of texts that have together about CHARACTERS characters; a text is not parted."""
    start = 0
    size = 0
    for row, text in enumerate(texts):
        size += len(text)
        if size >= CHARACTERS:
            yield slice(start, row + 1)
            start = row + 1
            size = 0
    if start < len(texts) or not texts:
        yield slice(start, len(texts))


def _counted(texts: list[str], options: TextFeatures, bits: int) -> Matrix:
    """How often each n-gram stands in each text, (n, 2**bits) CSR float32."""
    import scipy.sparse as sp

    joined = "".join(texts).encode("utf-32-le", "surrogatepass")
    characters = np.frombuffer(joined, dtype=np.uint32)
    row = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    found = [
        *_character_ngrams(characters, row, options.char_ngrams),
        *_word_ngrams(characters, row, options.word_ngrams),
    ]
    if not found:
        return sp.csr_matrix((len(texts), 1 << bits), dtype=np.float32)
    rows = np.concatenate([rows for rows, _ in found])
    hashes = np.concatenate([hashes for _, hashes in found])
    columns = ((hashes * MIXER) >> np.uint64(64 - bits)).astype(np.int64)
    keys, counts = np.unique((rows << bits) + columns, return_counts=True)
    starts = np.searchsorted(keys >> bits, np.arange(len(texts) + 1))
    cells = (counts.astype(np.float32), keys & ((1 << bits) - 1), starts)
    return sp.csr_matrix(cells, shape=(len(texts), 1 << bits))


def _character_ngrams(
    characters: NDArray[np.uint32], row: Ints, lengths: tuple[int, int]
) -> Iterator[tuple[Ints, Codes]]:
    """Row and hash of every n-gram of characters within a word and the blanks around it."""
    if lengths == (0, 0):
        return
    blank = characters == ord(" ")
    codes = characters.astype(np.uint64)
    hashes = codes.copy()
    # an n-gram of one character more: whether it starts here, and lies within one word of one text
    inside = np.ones(len(codes), dtype=np.bool_)
    for length in range(2, lengths[1] + 1):
        count = len(codes) - length + 1
        if count < 1:
            return
        hashes = hashes[:count] * BASE + codes[length - 1 :]
        inside = inside[:count] & (row[:count] == row[length - 1 :])
        between = (
            blank[:count] & blank[1 : count + 1] if length == 2 else blank[length - 2 :][:count]
        )
        inside = inside & ~between
        if length >= lengths[0]:
            yield row[:count][inside], hashes[inside] ^ np.uint64(length)


def _word_ngrams(
    characters: NDArray[np.uint32], row: Ints, lengths: tuple[int, int]
) -> Iterator[tuple[Ints, Codes]]:
    """Row and hash of every run of words, of these lengths."""
    if lengths == (0, 0):
        return
    starts, inside = _words(characters)
    if not len(starts):
        return
    position = np.arange(len(characters))
    first = np.repeat(starts, np.diff([*starts, len(characters)]))
    offset = (position[starts[0] :] - first)[inside[starts[0] :]]
    powers = _powers(int(offset.max()) + 1)
    terms = (characters[inside].astype(np.uint64) + np.uint64(1)) * powers[offset]
    begins = np.flatnonzero(offset == 0)
    words = np.add.reduceat(terms, begins)
    of_word = row[starts]
    hashes = words * MIXER
    for length in range(1, lengths[1] + 1):
        if length > 1:
            count = len(words) - length + 1
            if count < 1:
                return
            hashes = (hashes[:count] ^ (hashes[:count] >> np.uint64(29))) * BASE + words[
                length - 1 :
            ]
        same = of_word[: len(hashes)] == of_word[length - 1 :]
        if length >= lengths[0]:
            yield of_word[: len(hashes)][same], hashes[same] ^ np.uint64(length << 8)


def _words(characters: NDArray[np.uint32]) -> tuple[Ints, Mask]:
    """Where words start, and which characters are of a word: letters, digits and underscores."""
    different, number = np.unique(characters, return_inverse=True)
    of_word = np.array([chr(code).isalnum() or chr(code) == "_" for code in different])
    inside = of_word[number]
    before = np.concatenate([[False], inside[:-1]])
    return np.flatnonzero(inside & ~before), inside


def _powers(count: int) -> Codes:
    """The first powers of BASE, modulo 2**64."""
    base = int(BASE)
    values = accumulate(range(count - 1), lambda power, _: power * base % 2**64, initial=1)
    return np.array(list(values), dtype=np.uint64)
