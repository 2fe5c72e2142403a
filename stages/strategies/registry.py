"""The table of query strategies: what each is called, needs, costs and is good for.

`find` says what a strategy needs (train asks it whether a committee is wanted), `resolve` gives the
function, checked on the way in and out. A strategy's module is imported when it is resolved, so
that modAL and scikit-activeml cost nothing until used.
"""

from __future__ import annotations

import functools
import inspect
import math
import sys
import traceback
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import numpy as np
from threadpoolctl import ThreadpoolController

from stages.contract.arrays import Floats, Ints
from stages.contract.errors import PipelineError, closest
from stages.strategies import PARAM, Candidates, NoModelError, Rank, Ranking
from stages.strategies.auto import why_no_uncertainty, without_uncertainty

NUMBERS = {"int": "a whole number", "float": "a number"}
ENGINES = ("modal", "skactiveml", "own")


@dataclass(frozen=True)
class Strategy:
    """A row of the table.

    cost: in n candidates, k classes, m labelled rows, d dimensions, b picks, c committee members,
    s rows looked at (a bound). weighs: whether it takes class weights into account.
    """

    name: str
    engine: str
    module: str
    needs: tuple[str, ...]
    cost: str
    when: str
    source: str
    weighs: bool = True

    @property
    def path(self) -> str:
        """The import path of the function: for ours stages.strategies.<module>.<name>."""
        return f"stages.strategies.{self.module}.{self.name}" if self.module else self.name


P = "probabilities"
G = "geometry"
L = "labelled"
C = "committee"
DISPUTE = "small data, models that rightly disagree"
FIRST = "the first labels"
NO_WEIGHTS = False

# fmt: off
TABLE = (
    Strategy("auto", "own", "auto", (), "n k + s (s + m) d",
             "always, unless you know better", "Bae et al. 2024, 2025"),
    Strategy("random", "own", "uncertainty", (), "n",
             "the baseline to beat", "-", NO_WEIGHTS),
    Strategy("least_confidence", "modal", "modal", (P,), "n k",
             "few classes, small batches", "Lewis, Catlett 1994"),
    Strategy("margin", "modal", "modal", (P,), "n k",
             "the strongest plain doubt", "Scheffer et al. 2001"),
    Strategy("entropy", "modal", "modal", (P,), "n k",
             "doubt spread over all classes matters", "Shannon 1948"),
    Strategy("information_density", "own", "diversity", (P, G), "n s d",
             "outliers mislead doubt", "Settles, Craven 2008"),
    Strategy("ranked_batch", "own", "batches", (P, G, L), "n (m + b) d",
             "novelty before doubt", "Cardoso et al. 2017"),
    Strategy("vote_entropy", "modal", "modal", (C,), "n c k",
             DISPUTE, "Dagan, Engelson 1995"),
    Strategy("consensus_entropy", "modal", "modal", (C,), "n c k",
             DISPUTE, "Settles, Craven 2008"),
    Strategy("max_disagreement", "modal", "modal", (C,), "n c k",
             DISPUTE, "McCallum, Nigam 1998"),
    Strategy("kl_divergence", "skactiveml", "skactive", (C,), "n c k",
             DISPUTE, "McCallum, Nigam 1998"),
    Strategy("variation_ratios", "skactiveml", "skactive", (C,), "n c k",
             DISPUTE, "Beluch et al. 2018"),
    Strategy("batch_bald", "skactiveml", "skactive", (C,), "s c^b k",
             "very small batches", "Kirsch et al. 2019", NO_WEIGHTS),
    Strategy("badge", "own", "batches", (P, G), "n (k + d) b",
             "doubt and variety in one", "Ash et al. 2020"),
    Strategy("core_set", "own", "batches", (G, L), "n (m + b) d",
             "every corner must be seen", "Sener, Savarese 2018", NO_WEIGHTS),
    Strategy("typiclust", "own", "diversity", (G, L), "s (m + b) d",
             FIRST, "Hacohen et al. 2022", NO_WEIGHTS),
    Strategy("typiclust", "skactiveml", "skactive", (G, L), "s (m + b) d",
             FIRST, "Hacohen et al. 2022", NO_WEIGHTS),
    Strategy("weighted_coverage", "own", "diversity", (P, G, L), "n k + s (m + b) d",
             "regions first, doubt within them", "Hacohen et al. 2022"),
    Strategy("prob_cover", "skactiveml", "skactive", (G, L), "s^2 d",
             FIRST, "Yehuda et al. 2022", NO_WEIGHTS),
    Strategy("max_herding", "own", "herding", (G, L), "s (s + m) d",
             FIRST, "Bae et al. 2024", NO_WEIGHTS),
    Strategy("max_herding", "skactiveml", "skactive", (G, L), "s^2 (d + b)",
             FIRST, "Bae et al. 2024", NO_WEIGHTS),
    Strategy("uncertainty_herding", "own", "herding", (P, G, L), "n k + s (s + m) d",
             "any budget", "Bae et al. 2025"),
    Strategy("dbal", "own", "batches", (P, G), "n k + b^2 d",
             "large batches, informative doubt", "Zhdanov 2019"),
)
# fmt: on
ALIASES = {"uncertainty": "least_confidence", "query_by_committee": "kl_divergence"}
# strategies of earlier versions -> the nearest that is there; docs/strategies.md says why they left
REMOVED = {
    "power_margin": "dbal",
    "cluster_margin": "dbal",
    "falcun": "dbal",
    "clue": "dbal",
    "drop_query": "variation_ratios",
    "epistemic": "uncertainty_herding",
    "probabilistic": "uncertainty_herding",
}


def find(strategy: str, engine: str) -> Strategy:
    """The table's row: by name, from `engine` where it has the strategy, else from any other.

    A dotted import path is the user's own function. Raises PipelineError naming the closest known
    name.
    """
    name = ALIASES.get(strategy, strategy)
    rows = {row.engine: row for row in TABLE if row.name == name}
    for choice in (engine, "own", *ENGINES):
        if choice in rows:
            return rows[choice]
    if strategy in REMOVED:
        what = f"strategy {strategy!r} is no longer there"
        raise PipelineError(PARAM, what, f"use `{REMOVED[strategy]}`, the nearest to it, or `auto`")
    if "." in strategy:
        return Strategy(strategy, "user", "", (), "?", "as its author says", "yours")
    names = sorted({row.name for row in TABLE} | set(ALIASES))
    what = f"unknown strategy {strategy!r}{closest(strategy, names)}"
    remedy = f"use one of {', '.join(names)}, or the import path of your own function"
    raise PipelineError(PARAM, what, remedy)


def resolve(strategy: str, engine: str = "modal", *, weighted: bool = False) -> Rank:
    """The function of a strategy, behind the laws that hold for all of them (see `lawful`).

    weighted: class weights are asked for. Raises PipelineError where there is no such strategy, and
    where class weights are asked for that it does not know; random sampling, the baseline, is
    spared.
    """
    row = find(strategy, engine)
    if weighted and not row.weighs and row.name != "random":
        what = f"strategy {strategy!r} does not know class weights"
        remedy = "remove them, or use `auto` or another that does"
        raise PipelineError("params.yaml query.class_weights", what, remedy)
    module, _, function = row.path.rpartition(".")
    try:
        rank: Rank = getattr(import_module(module), function)
        inspect.signature(rank)
    except Exception as error:  # a user's module may raise anything
        what = f"strategy {strategy!r} cannot be imported ({type(error).__name__}: {error})"
        remedy = "install the package, or correct the path (module.function)"
        raise PipelineError(PARAM, what, remedy) from error
    return lawful(rank, row)


def lawful(rank: Rank, row: Strategy) -> Rank:
    """`rank` behind the laws that hold for every strategy.

    Its input and params are checked. It gets the candidates in the order of their keys, and one
    thread for linear algebra. What comes back is checked: positions without repeats, as many as
    asked for or as there are, finite scores. Without a usable model it sees no probabilities, and
    typical and diverse rows are picked where it needs them. Raises PipelineError where the
    strategy, its params or its input are at fault.
    """

    @functools.wraps(rank)
    def ranked(candidates: Candidates, count: int, /, **params: object) -> Ranking:
        order = np.argsort(candidates.keys, kind="stable")
        _check(candidates, order)
        _check_params(rank, row, params)
        if not len(candidates) or count <= 0:
            return Ranking(np.empty(0, np.intp), np.empty(0), [], "nothing to ask")
        wanted = min(count, len(candidates))
        try:
            with _thread_pools(len(sys.modules)).limit(limits=1):
                ranking = _rank_without_lies(rank, _in_order(candidates, order), wanted, params)
            _check_ranking(ranking, wanted, len(candidates), row.name)
        except PipelineError:
            raise
        except Exception as error:  # a library at an odd shape, or a user's own code
            raise _failure(row, error) from error
        return replace(ranking, positions=order[ranking.positions])

    return ranked


def _failure(row: Strategy, error: Exception) -> PipelineError:
    """What to say of an exception that a strategy raised: its type, and file and line."""
    at = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(at.filename).name} line {at.lineno}"
    what = f"strategy {row.name!r} failed: {type(error).__name__}: {error}, {where}"
    remedy = "correct it" if row.engine == "user" else "use `auto`, or `query.engine: own`"
    return PipelineError(PARAM, what, remedy)


def _rank_without_lies(
    rank: Rank, candidates: Candidates, count: int, params: dict[str, object]
) -> Ranking:
    """The picks of `rank`; where uncertainty must not be used it sees no probabilities.

    A strategy that cannot do without them gives way to typical and diverse rows.
    """
    if not why_no_uncertainty(candidates):
        return rank(candidates, count, **params)
    blind = replace(candidates, probabilities=None, committee=None, held_out=None)
    try:
        return rank(blind, count, **params)
    except NoModelError:
        return without_uncertainty(candidates, count)


def _check_params(rank: Rank, row: Strategy, params: dict[str, object]) -> None:
    """Raise PipelineError for a param that the strategy does not take, or of the wrong kind.

    Params of ours take no number below 0.
    """
    where = "params.yaml query.params"
    signature = inspect.signature(rank)
    try:
        signature.bind(None, 0, **params)
    except TypeError as error:
        if not params:
            what = f"strategy {row.name!r}: {error}"
            raise PipelineError(PARAM, what, "let it take candidates and a count") from error
        what = f"strategy {row.name!r} {error}"
        raise PipelineError(where, what, "remove or correct the key") from error
    ours = row.engine != "user"
    for name, value in params.items():
        annotation = signature.parameters[name].annotation if name in signature.parameters else None
        word = NUMBERS.get(getattr(annotation, "__name__", str(annotation)))
        least = 0 if ours else -math.inf
        if word and not _is_number(value, whole=word == "a whole number", least=least):
            bound = " of 0 or more" if ours else ""
            what = f"strategy {row.name!r} takes {word}{bound} for {name}, not {value!r}"
            raise PipelineError(where, what, "correct it")


def _is_number(value: object, *, whole: bool, least: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return False
    return math.isfinite(value) and value >= least


@functools.lru_cache(maxsize=1)
def _thread_pools(_modules: int) -> ThreadpoolController:
    """The thread pools of the loaded libraries, looked up anew once more modules are imported."""
    return ThreadpoolController()


def _in_order(candidates: Candidates, order: Ints) -> Candidates:
    """The candidates in `order`, the labelled rows in the order of their content."""
    contents = np.lexsort((*candidates.labelled.T, candidates.labelled_class))
    held_out = candidates.held_out
    labelled_in_order = replace(
        candidates,
        labelled=candidates.labelled[contents],
        labelled_class=candidates.labelled_class[contents],
        held_out=None if held_out is None else held_out[contents],
    )
    if (order[1:] > order[:-1]).all():
        return labelled_in_order
    return labelled_in_order.at(order)


def _check(candidates: Candidates, order: Ints) -> None:
    """Raise PipelineError where the arrays break the contract; `order` sorts the keys."""
    if (candidates.keys[order[1:]] == candidates.keys[order[:-1]]).any():
        raise PipelineError("query", "candidates do not have unique keys", "make the ids unique")
    if not np.isfinite(candidates.geometry).all() or not np.isfinite(candidates.labelled).all():
        raise PipelineError("query", "the geometry holds NaN or infinity", "repair the features")
    for name in ("probabilities", "committee", "held_out"):
        rows = getattr(candidates, name)
        if rows is not None and not _are_probabilities(rows):
            what = f"{name} hold NaN, a value outside [0, 1], or a row that does not sum to 1"
            remedy = "repair the model's predict_proba or the calibration"
            raise PipelineError("query", what, remedy)


def _are_probabilities(rows: Floats) -> bool:
    return bool(rows.size == 0 or (rows.min() >= 0 and np.abs(rows.sum(axis=-1) - 1).max() <= 1e-6))


def _check_ranking(ranking: Ranking, wanted: int, n: int, name: str) -> None:
    """Raise PipelineError where a strategy broke the contract (a user's own may)."""
    if not isinstance(ranking, Ranking):
        what = f"strategy {name!r} returned {type(ranking).__name__}, not a Ranking"
        raise PipelineError(PARAM, what, "return Ranking(positions, scores, reasons, regime)")
    fault = _fault_of(ranking, wanted, n)
    if fault:
        raise PipelineError(PARAM, f"strategy {name!r} returned {fault}", "correct the strategy")


def _fault_of(ranking: Ranking, wanted: int, n: int) -> str:
    """The first way in which a ranking of `wanted` of n candidates breaks the contract, or ''."""
    positions = np.asarray(ranking.positions)
    scores = np.asarray(ranking.scores)
    texts = (*ranking.reasons, ranking.regime)
    if positions.ndim != 1:
        return "positions that are not in one line"
    if len(positions) != wanted:
        return f"{len(positions)} picks where {wanted} were asked for"
    if scores.shape != (wanted,) or len(ranking.reasons) != wanted:
        return "not one score and reason per pick"
    if positions.dtype.kind not in "iu":
        return "positions that are not whole numbers"
    if positions.min() < 0 or positions.max() >= n:
        return "positions outside the candidates"
    if np.unique(positions).size != wanted:
        return "the same row twice"
    if scores.dtype.kind not in "fiu" or not np.isfinite(scores).all():
        return "scores that are not finite numbers"
    if not all(isinstance(text, str) for text in texts):
        return "a reason that is not text"
    return ""


def markdown() -> str:
    """The table of strategies, one row per name and engine, as Markdown."""
    head = ("strategy", "engine", "needs", "cost", "class weights", "when", "source")
    rows = [head, ("---",) * len(head)]
    for row in TABLE:
        needs = ", ".join(row.needs) or "nothing"
        weights = "yes" if row.weighs else "-"
        cells = (f"`{row.name}`", row.engine, needs, f"`{row.cost}`", weights, row.when, row.source)
        rows.append(cells)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)
