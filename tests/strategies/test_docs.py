"""docs/strategies.md says what the code says: its table is the registry's, its example runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Make

from stages._errors import PipelineError
from stages.strategies.registry import TABLE, markdown, resolve

PAGE = Path(__file__).parents[2] / "docs" / "strategies.md"


def test_the_page_holds_the_table_that_the_registry_prints() -> None:
    table = re.search(r"<!-- table: .*? -->\n(.*?)<!-- end of table -->", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert table
    assert table[1] == markdown(), "run `python -m stages.strategies` and paste its output between the markers"


def test_every_row_of_the_table_names_a_function_and_no_name_stands_twice_for_an_engine() -> None:
    assert all(callable(resolve(row.name, row.engine)) for row in TABLE)
    assert len({(row.name, row.engine) for row in TABLE}) == len(TABLE)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert code
    (tmp_path / "mine.py").write_text(code[1] + BROKEN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)


BROKEN = """

def twice(candidates, count):
    return Ranking(np.zeros(count, int), np.zeros(count), [""] * count, "x")


def short(candidates, count):
    return Ranking(np.arange(count - 1), np.zeros(count - 1), [""] * (count - 1), "x")


def nan(candidates, count):
    return Ranking(np.arange(count), np.full(count, np.nan), [""] * count, "x")


def outside(candidates, count):
    return Ranking(np.arange(count) + len(candidates), np.zeros(count), [""] * count, "x")
"""


@pytest.mark.usefixtures("mine")
def test_the_pages_own_strategy_runs(make: Make) -> None:
    candidates = make()
    ranking = resolve("mine.rare_first")(candidates, 4, rare=2)
    assert candidates.probabilities is not None
    assert ranking.scores.tolist() == np.sort(candidates.probabilities[:, 2])[::-1][:4].tolist()


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("twice", "returned the same row twice"),
        ("short", "returned 4 picks where 5 were asked for"),
        ("nan", "returned scores that are not finite"),
        ("outside", "returned positions outside the candidates"),
        ("absent", "cannot be imported"),
    ],
)
def test_a_strategy_that_breaks_the_contract_is_refused(name: str, what: str, make: Make) -> None:
    with pytest.raises(PipelineError, match=what):
        resolve(f"mine.{name}")(make(), 5)
