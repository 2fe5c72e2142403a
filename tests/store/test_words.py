"""Word vectors: of the installed package alone, of each text alone, and of one version alone."""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from stages.contract.errors import PipelineError
from stages.store import words

TEXTS = [
    "my card was stolen",
    "",
    "我的卡被偷了",
    "card card card",
    "\x00 \U0001f600 λ",
    "x" * 3000,
]


@pytest.fixture(autouse=True)
def _read_anew() -> None:
    words._tokenizer.cache_clear()
    words.word_vectors.cache_clear()


def test_a_text_has_a_vector_of_unit_length_and_one_without_tokens_has_none() -> None:
    lengths = np.linalg.norm(words.tokens(TEXTS) @ words.word_vectors(), axis=1)
    assert lengths == pytest.approx([1, 0, 1, 1, 1, 1], abs=1e-5)


def test_a_row_depends_on_its_text_alone_to_the_last_bit() -> None:
    together = words.tokens(TEXTS)
    for row, text in enumerate(TEXTS):
        alone = words.tokens([text])
        assert alone.data.tobytes() == together[row].data.tobytes()
        assert alone.indices.tolist() == together[row].indices.tolist()
    assert words.tokens([]).shape == (0, words.TOKENS)


def test_texts_that_share_no_word_are_near_where_they_mean_the_same() -> None:
    said = ["the doctor treats a sick man", "physicians heal patients", "stocks fell on Monday"]
    doctor, physician, stocks = words.tokens(said) @ words.word_vectors()
    assert doctor @ physician > doctor @ stocks + 0.2


def test_vectors_are_placed_around_their_mean_in_units_of_their_spread() -> None:
    tokens = words.tokens(["to be", "or not to be", "a pound of flesh"])
    centre, spread = words.centre_and_spread(tokens)
    beside = sp.csr_matrix([[7.0], [8.0], [9.0]], dtype=np.float32)
    columns = words.placed(tokens, centre, spread, beside=beside).toarray()
    assert columns[:, :-1].mean(axis=0) == pytest.approx(np.zeros(256), abs=1e-6)
    assert (columns[:, :-1] ** 2).sum(axis=1).mean() == pytest.approx(1, rel=1e-5)
    assert columns[:, -1].tolist() == [7, 8, 9]


def copied(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package's tokenizer in a folder that is taken for the package."""
    original = Path(next(iter(words.find_spec(words.PACKAGE).submodule_search_locations)))
    target = folder / words.TOKENIZER
    target.parent.mkdir(parents=True)
    target.write_bytes((original / words.TOKENIZER).read_bytes())
    spec = ModuleSpec(words.PACKAGE, None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    monkeypatch.setattr(words, "find_spec", lambda _name: spec)
    return target


def test_line_ends_of_another_system_are_no_other_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copied(tmp_path, monkeypatch)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert words._tokenizer().encode("card", add_special_tokens=False).ids


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = copied(tmp_path, monkeypatch)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(PipelineError) as refused:
        words._tokenizer()
    assert str(refused.value) == (
        "params.yaml features.text.words: the installed wordllama has other word vectors than version "
        "0.4.0.post1; pip install wordllama==0.4.0.post1, or set it to none"
    )


def test_without_the_package_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "find_spec", lambda _name: None)
    assert not words.is_installed()
    with pytest.raises(PipelineError) as refused:
        words.tokens(["card"])
    assert str(refused.value) == (
        "params.yaml features.text.words: wordllama is not installed here; "
        "pip install wordllama==0.4.0.post1, or set it to none"
    )
