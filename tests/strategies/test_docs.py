"""docs/strategies.md says what the code says: its table is the registry's, its example runs."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Make

from stages.contract.errors import PipelineError
from stages.strategies.registry import TABLE, markdown, resolve

PAGE = Path(__file__).parents[2] / "docs" / "strategies.md"


def test_the_page_holds_the_table_that_the_registry_prints() -> None:
    table = re.search(
        r"<!-- table: .*? -->\n(.*?)<!-- end of table -->",
        PAGE.read_text(encoding="utf-8"),
        re.DOTALL,
    )
    assert table
    assert table[1] == markdown(), (
        "run `python -m stages.strategies` and paste its output between the markers"
    )


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


def nothing(candidates, count):
    pass


def table(candidates, count):
    return Ranking(np.arange(count)[:, None], np.zeros(count), [""] * count, "x")


def words(candidates, count):
    return Ranking(np.arange(count), np.array(["1"] * count), [""] * count, "x")


def numbers(candidates, count):
    return Ranking(np.arange(count), np.zeros(count), [1] * count, "x")


def raises(candidates, count, threshold=0.5):
    return {}["key"]


def alone(candidates):
    pass


constant = 3
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
        ("constant", "cannot be imported .TypeError: 3 is not a callable object"),
        ("nothing", "returned NoneType, not a Ranking; return Ranking"),
        ("table", "returned positions that are not in one line"),
        ("words", "returned scores that are not finite numbers"),
        ("numbers", "returned a reason that is not text"),
        ("raises", r"failed: KeyError: 'key', mine.py line \d+; correct it"),
        ("alone", "too many positional arguments; let it take candidates and a count"),
    ],
)
def test_a_strategy_that_breaks_the_contract_is_refused(name: str, what: str, make: Make) -> None:
    with pytest.raises(PipelineError, match=what):
        resolve(f"mine.{name}")(make(), 5)


@pytest.mark.usefixtures("mine")
def test_a_pages_own_strategy_gives_way_where_there_is_no_usable_model(make: Make) -> None:
    candidates = make()
    for case in (replace(candidates, probabilities=None), replace(candidates, trusted=False)):
        ranking = resolve("mine.rare_first")(case, 4, rare=2)
        assert (
            ranking.positions.tolist() == resolve("max_herding")(candidates, 4).positions.tolist()
        )
        assert ranking.evidence in {"no model yet", "the model's confidence is not trusted"}
        assert ranking.reasons[0].endswith(f"; {ranking.evidence}")


@pytest.mark.parametrize("module", ["(", "1 / 0", "raise SystemError"])
def test_a_module_that_does_not_import_is_one_line(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text(module, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PipelineError, match=r"strategy 'broken\.rank' cannot be imported"):
        resolve("broken.rank")


@pytest.mark.parametrize("path", [".rank", "..rank", "mine.", "mine..rank", "no such.rank"])
def test_a_path_that_is_none_is_one_line(path: str) -> None:
    with pytest.raises(
        PipelineError, match=r"cannot be imported .*; install the package, or correct the path"
    ):
        resolve(path)
