"""The table of query strategies: what each is called, needs, costs and is good for; and how to get one.

`find` tells what a strategy needs (train asks whether a committee is wanted), `resolve` gives the function.
A strategy's module is imported when it is resolved, so modAL and scikit-activeml cost nothing until used.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from stages._errors import PipelineError, closest
from stages.strategies import PARAM, Candidates, Rank, Ranking

ENGINES = ("modal", "skactiveml", "own")


@dataclass(frozen=True)
class Strategy:
    """A row of the table. `path` is module.function; `cost` in n candidates, k classes, m labelled, d dims, b batch."""

    name: str
    engine: str
    path: str
    needs: tuple[str, ...]
    cost: str
    when: str
    source: str


def _own(name: str, function: str, needs: tuple[str, ...], cost: str, when: str, source: str) -> Strategy:
    return Strategy(name, "own", f"stages.strategies.{function}", needs, cost, when, source)


def _modal(name: str, function: str, needs: tuple[str, ...], cost: str, when: str, source: str) -> Strategy:
    return Strategy(name, "modal", f"stages.strategies.modal.{function}", needs, cost, when, source)


P, G, L, C = "probabilities", "geometry", "labelled", "committee"
LEWIS = "Lewis, Catlett, Heterogeneous uncertainty sampling (1994)"
SCHEFFER = "Scheffer, Decomain, Wrobel, Active hidden Markov models (2001)"
SHANNON = "Settles, Active learning literature survey (2009)"

TABLE = (
    _own("auto", "auto.rank", (), "s^2 d + n k", "always, unless you know better", "design of this project"),
    _own("random", "uncertainty.random", (), "n", "the baseline that every strategy must beat", "-"),
    _modal("least_confidence", "least_confidence", (P,), "n k", "few classes, many labels", LEWIS),
    _own("least_confidence", "uncertainty.least_confidence", (P,), "n k", "few classes, many labels", LEWIS),
    _modal("margin", "margin", (P,), "n k", "the strongest plain uncertainty", SCHEFFER),
    _own("margin", "uncertainty.margin", (P,), "n k", "the strongest plain uncertainty", SCHEFFER),
    _modal("entropy", "entropy", (P,), "n k", "when every class matters alike", SHANNON),
    _own("entropy", "uncertainty.entropy", (P,), "n k", "when every class matters alike", SHANNON),
    _own(
        "typiclust",
        "diversity.typiclust",
        (G, L),
        "s (m + b) d",
        "the first labels",
        "Hacohen, Dekel, Weinshall, Active learning on a budget (2022)",
    ),
    _own(
        "weighted_coverage",
        "diversity.weighted_coverage",
        (P, G, L),
        "s (m + b) d",
        "few labels per class",
        "TypiClust, its clusters weighted by doubt",
    ),
    _own(
        "dbal",
        "diversity.dbal",
        (P, G),
        "10 b^2 d + n k",
        "large batches once doubt is informative",
        "Zhdanov, Diverse mini-batch active learning (2019)",
    ),
)
ALIASES = {"uncertainty": "least_confidence", "default": "auto"}


def find(strategy: str, engine: str) -> Strategy:
    """The table's row: by name, from `engine` where it has the strategy, else own, else any other engine.

    A dotted import path is the user's own function. Raises PipelineError naming the closest known name.
    """
    name = ALIASES.get(strategy, strategy)
    rows = {row.engine: row for row in TABLE if row.name == name}
    for choice in (engine, "own", *ENGINES):
        if choice in rows:
            return rows[choice]
    if "." in strategy:
        return Strategy(strategy, "user", strategy, (), "?", "as its author says", "yours")
    names = sorted({row.name for row in TABLE} | set(ALIASES))
    what = f"unknown strategy {strategy!r}{closest(strategy, names)}"
    raise PipelineError(PARAM, what, f"use one of {', '.join(names)}, or the import path of your own function")


def resolve(strategy: str, engine: str = "modal") -> Rank:
    """The function of a strategy, behind the laws that hold for all of them.

    What is returned checks its input, gives the strategy the candidates in the order of their keys and one
    thread for linear algebra, and checks what comes back: positions without repeats, as many as were asked
    for or as there are, finite scores. Raises PipelineError where the strategy or its input is at fault.
    """
    row = find(strategy, engine)
    module, _, function = row.path.rpartition(".")
    try:
        rank: Rank = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        what = f"strategy {strategy!r} cannot be imported ({error})"
        raise PipelineError(PARAM, what, "install the package, or correct the path (module.function)") from error
    return lawful(rank, row.name)


def lawful(rank: Rank, name: str) -> Rank:
    """`rank` behind the contract's laws; see `resolve`."""

    @functools.wraps(rank)
    def ranked(candidates: Candidates, count: int, **params: object) -> Ranking:
        _check(candidates)
        if not len(candidates) or count <= 0:
            return Ranking(np.empty(0, np.intp), np.empty(0), [], "nothing to ask")
        order = np.argsort(candidates.keys, kind="stable")
        wanted = min(count, len(candidates))
        try:
            with threadpool_limits(1):
                ranking = rank(_taken(candidates, order), wanted, **params)
        except TypeError as error:
            if "unexpected keyword argument" not in str(error):
                raise
            raise PipelineError("params.yaml query.params", str(error), "remove or correct the key") from error
        _check_ranking(ranking, wanted, len(candidates), name)
        return replace(ranking, positions=order[ranking.positions])

    return ranked


def _taken(candidates: Candidates, order: NDArray[np.intp]) -> Candidates:
    """The candidates in `order`, the labelled rows in the order of their content."""
    contents = np.lexsort((*candidates.labelled.T, candidates.labelled_class))
    labelled = replace(
        candidates, labelled=candidates.labelled[contents], labelled_class=candidates.labelled_class[contents]
    )
    if (order[1:] > order[:-1]).all():
        return labelled
    rows, committee = labelled.probabilities, labelled.committee
    return replace(
        labelled,
        ids=[labelled.ids[row] for row in order],
        keys=labelled.keys[order],
        geometry=labelled.geometry[order],
        probabilities=None if rows is None else rows[order],
        committee=None if committee is None else committee[:, order],
    )


def _check(candidates: Candidates) -> None:
    """Raise PipelineError where the arrays are not what the contract says."""
    if np.unique(candidates.keys).size != len(candidates):
        raise PipelineError("query", "candidates do not have unique keys", "make the ids unique")
    if not np.isfinite(candidates.geometry).all() or not np.isfinite(candidates.labelled).all():
        raise PipelineError("query", "the geometry holds NaN or infinity", "repair the features")
    for name, rows in (("probabilities", candidates.probabilities), ("committee", candidates.committee)):
        if rows is not None and not _are_probabilities(rows):
            what = f"{name} hold NaN, a value outside [0, 1], or a row that does not sum to 1"
            raise PipelineError("query", what, "repair the model's predict_proba or the calibration")


def _are_probabilities(rows: NDArray[np.float64]) -> bool:
    return bool(rows.size == 0 or (rows.min() >= 0 and np.abs(rows.sum(axis=-1) - 1).max() <= 1e-6))


def _check_ranking(ranking: Ranking, wanted: int, n: int, name: str) -> None:
    """Raise PipelineError where a strategy broke the contract (a user's own may)."""
    positions = np.asarray(ranking.positions)
    faults: tuple[tuple[Callable[[], bool], str], ...] = (
        (lambda: len(positions) != wanted, f"{len(positions)} picks where {wanted} were asked for"),
        (lambda: len(ranking.scores) != wanted or len(ranking.reasons) != wanted, "not one score and reason per pick"),
        (lambda: positions.dtype.kind not in "iu", "positions that are not whole numbers"),
        (lambda: positions.min() < 0 or positions.max() >= n, "positions outside the candidates"),
        (lambda: np.unique(positions).size != wanted, "the same row twice"),
        (lambda: not np.isfinite(ranking.scores).all(), "scores that are not finite"),
    )
    for broken, what in faults:
        if broken():
            raise PipelineError(PARAM, f"strategy {name!r} returned {what}", "correct the strategy")
