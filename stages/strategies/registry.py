"""The table of query strategies: what each is called, needs, costs and is good for; and how to get one.

`find` tells what a strategy needs (train asks whether a committee is wanted), `resolve` gives the
function. A strategy's module is imported when it is resolved, so modAL and scikit-activeml cost
nothing until used.
"""

from __future__ import annotations

import functools
import inspect
import math
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from stages.contract.errors import PipelineError, closest
from stages.strategies import PARAM, Candidates, NoModelError, Rank, Ranking
from stages.strategies.auto import no_doubt, without_doubt

NUMBERS = {"int": "a whole number", "float": "a number"}
ENGINES = ("modal", "skactiveml", "own")


@dataclass(frozen=True)
class Strategy:
    """A row of the table. `cost` in n candidates, k classes, m labelled, d dimensions, b batch, c members, s sample."""

    name: str
    engine: str
    module: str
    needs: tuple[str, ...]
    cost: str
    when: str
    source: str

    @property
    def weighs(self) -> bool:
        """Whether it honours class weights; a user's own function may."""
        return self.name not in UNWEIGHED

    @property
    def path(self) -> str:
        """The import path of the function: ours are called as the strategy is, under stages.strategies."""
        return f"stages.strategies.{self.module}.{self.name}" if self.module else self.name


P, G, L, C = "probabilities", "geometry", "labelled", "committee"
PL, MO, SK = "uncertainty", "modal", "skactive"
LEWIS, SCHEFFER, SHANNON = "Lewis, Catlett 1994", "Scheffer et al. 2001", "Shannon 1948"
SETTLES, CARDOSO, KULLBACK = "Settles, Craven 2008", "Cardoso et al. 2017", "McCallum, Nigam 1998"
VOTES, ASH, SENER = "Dagan, Engelson 1995", "Ash et al. 2020", "Sener, Savarese 2018"
HACOHEN, BAE = "Hacohen et al. 2022", "Bae et al. 2024"
PLAIN, EVEN, SPREAD = (
    "few classes, small batches",
    "the strongest plain doubt",
    "doubt spread over all classes matters",
)
DISPUTE = "small data, models that rightly disagree"
FIRST = "the first labels"

TABLE = tuple(
    Strategy(*row)
    for row in (
        (
            "auto",
            "own",
            "auto",
            (),
            "n k + s (s + m) d",
            "always, unless you know better",
            "Bae et al. 2024, 2025",
        ),
        ("random", "own", PL, (), "n", "the baseline to beat", "-"),
        ("least_confidence", "modal", MO, (P,), "n k", PLAIN, LEWIS),
        ("least_confidence", "skactiveml", SK, (P,), "n k", PLAIN, LEWIS),
        ("least_confidence", "own", PL, (P,), "n k", PLAIN, LEWIS),
        ("margin", "modal", MO, (P,), "n k", EVEN, SCHEFFER),
        ("margin", "skactiveml", SK, (P,), "n k", EVEN, SCHEFFER),
        ("margin", "own", PL, (P,), "n k", EVEN, SCHEFFER),
        ("entropy", "modal", MO, (P,), "n k", SPREAD, SHANNON),
        ("entropy", "skactiveml", SK, (P,), "n k", SPREAD, SHANNON),
        ("entropy", "own", PL, (P,), "n k", SPREAD, SHANNON),
        ("power_margin", "own", PL, (P,), "n k", "as margin, large batches", "Kirsch et al. 2021"),
        ("information_density", "modal", MO, (P, G), "n^2 d", "outliers mislead doubt", SETTLES),
        (
            "information_density",
            "own",
            "diversity",
            (P, G),
            "n s d",
            "the same, large pools",
            SETTLES,
        ),
        ("ranked_batch", "modal", MO, (P, G, L), "n (m + b) b d", "novelty before doubt", CARDOSO),
        (
            "ranked_batch",
            "own",
            "batches",
            (P, G, L),
            "n (m + b) d",
            "the same picks, large pools",
            CARDOSO,
        ),
        ("vote_entropy", "modal", MO, (C,), "n c k", DISPUTE, VOTES),
        ("vote_entropy", "skactiveml", SK, (C,), "n c k", DISPUTE, VOTES),
        ("consensus_entropy", "modal", MO, (C,), "n c k", DISPUTE, SETTLES),
        ("max_disagreement", "modal", MO, (C,), "n c k", DISPUTE, KULLBACK),
        ("kl_divergence", "skactiveml", SK, (C,), "n c k", DISPUTE, KULLBACK),
        ("variation_ratios", "skactiveml", SK, (C,), "n c k", DISPUTE, "Beluch et al. 2018"),
        (
            "batch_bald",
            "skactiveml",
            SK,
            (C,),
            "s c^b k",
            "very small batches",
            "Kirsch et al. 2019",
        ),
        ("drop_query", "skactiveml", SK, (C, G), "s b d", DISPUTE, "Gupte et al. 2024"),
        ("badge", "own", "batches", (P, G), "n (k + d) b", "doubt and variety in one", ASH),
        ("badge", "skactiveml", SK, (P, G), "s k d b", "the same, small pools", ASH),
        ("core_set", "own", "batches", (G, L), "n (m + b) d", "every corner must be seen", SENER),
        ("core_set", "skactiveml", SK, (G, L), "s (m + b) d", "the same, small pools", SENER),
        ("typiclust", "own", "diversity", (G, L), "s (m + b) d", FIRST, HACOHEN),
        ("typiclust", "skactiveml", SK, (G, L), "s (m + b) d", FIRST, HACOHEN),
        ("prob_cover", "skactiveml", SK, (G, L), "s^2 d", FIRST, "Yehuda et al. 2022"),
        ("max_herding", "own", "herding", (G, L), "s (s + m) d", FIRST, BAE),
        ("max_herding", "skactiveml", SK, (G, L), "s^2 (d + b)", FIRST, BAE),
        (
            "uncertainty_herding",
            "own",
            "herding",
            (P, G, L),
            "n k + s (s + m) d",
            "any budget",
            "Bae et al. 2025",
        ),
        ("weighted_coverage", "own", "diversity", (P, G, L), "s (m + b) d", "few labels", HACOHEN),
        (
            "dbal",
            "own",
            "batches",
            (P, G),
            "n k + b^2 d",
            "large batches, informative doubt",
            "Zhdanov 2019",
        ),
        (
            "cluster_margin",
            "own",
            "batches",
            (P, G),
            "n k + b^2 d",
            "very large batches",
            "Citovsky et al. 2021",
        ),
        ("falcun", "skactiveml", SK, (P,), "s k b", "large batches", "Gilhuber et al. 2024"),
        ("clue", "skactiveml", SK, (P, G), "s b d", "the pool drifts", "Prabhu et al. 2021"),
        (
            "epistemic",
            "skactiveml",
            SK,
            (G, L),
            "s m d",
            "two classes, noisy labels",
            "Nguyen et al. 2019",
        ),
        (
            "probabilistic",
            "skactiveml",
            SK,
            (G, L),
            "s (m + s) d",
            "few labels",
            "Kottke et al. 2016",
        ),
    )
)
UNWEIGHED = frozenset(
    {
        "random",
        "batch_bald",
        "drop_query",
        "core_set",
        "typiclust",
        "prob_cover",
        "max_herding",
        "falcun",
        "clue",
    }
    | {"epistemic", "probabilistic"}
)
ALIASES = {"uncertainty": "least_confidence", "query_by_committee": "kl_divergence"}


def find(strategy: str, engine: str) -> Strategy:
    """The table's row: by name, from `engine` where it has the strategy, else own, else any other engine.

    A dotted import path is the user's own function. Raises PipelineError naming the closest known
    name.
    """
    name = ALIASES.get(strategy, strategy)
    rows = {row.engine: row for row in TABLE if row.name == name}
    for choice in (engine, "own", *ENGINES):
        if choice in rows:
            return rows[choice]
    if "." in strategy:
        return Strategy(strategy, "user", "", (), "?", "as its author says", "yours")
    names = sorted({row.name for row in TABLE} | set(ALIASES))
    what = f"unknown strategy {strategy!r}{closest(strategy, names)}"
    raise PipelineError(
        PARAM, what, f"use one of {', '.join(names)}, or the import path of your own function"
    )


def resolve(strategy: str, engine: str = "modal", *, weighted: bool = False) -> Rank:
    """The function of a strategy, behind the laws that hold for all of them. weighted: class weights are asked for.

    What is returned checks its input, gives the strategy the candidates in the order of their keys
    and one thread for linear algebra, and checks what comes back: positions without repeats, as
    many as were asked for or as there are, finite scores. Where there is no usable model (none yet,
    one class seen, confidence that calibrate does not trust) no strategy sees probabilities, and
    one that cannot do without gives way to typical and diverse rows whose reasons say why. Raises
    PipelineError where the strategy, its params or its input are at fault, and where class weights
    are asked for that it does not know; random sampling, the baseline, is spared.
    """
    row = find(strategy, engine)
    if weighted and not row.weighs and row.name != "random":
        what = f"strategy {strategy!r} does not know class weights"
        raise PipelineError(
            "params.yaml query.class_weights",
            what,
            "remove them, or use `auto` or another that does",
        )
    module, _, function = row.path.rpartition(".")
    try:
        rank: Rank = getattr(import_module(module), function)
        inspect.signature(rank)
    except Exception as error:  # a user's module may raise anything
        what = f"strategy {strategy!r} cannot be imported ({type(error).__name__}: {error})"
        raise PipelineError(
            PARAM, what, "install the package, or correct the path (module.function)"
        ) from error
    return lawful(rank, row)


def lawful(rank: Rank, row: Strategy) -> Rank:
    """`rank` behind the contract's laws; see `resolve`."""

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
                ranking = _asked(rank, _taken(candidates, order), wanted, params)
            _check_ranking(ranking, wanted, len(candidates), row.name)
        except PipelineError:
            raise
        except Exception as error:  # a library at an odd shape, or a user's own code
            at = traceback.extract_tb(error.__traceback__)[-1]
            said = f"{type(error).__name__}: {error}, {Path(at.filename).name} line {at.lineno}"
            what = f"strategy {row.name!r} failed: {said}"
            remedy = "correct it" if row.engine == "user" else "use `auto`, or `query.engine: own`"
            raise PipelineError(PARAM, what, remedy) from error
        return replace(ranking, positions=order[ranking.positions])

    return ranked


def _asked(rank: Rank, candidates: Candidates, count: int, params: dict[str, object]) -> Ranking:
    """What `rank` picks; without a usable model it sees no probabilities, and gives way where it needs them."""
    if not no_doubt(candidates):
        return rank(candidates, count, **params)
    try:
        return rank(
            replace(candidates, probabilities=None, committee=None, held_out=None), count, **params
        )
    except NoModelError:
        return without_doubt(candidates, count)


def _check_params(rank: Rank, row: Strategy, params: dict[str, object]) -> None:
    """Raise PipelineError for a param that the strategy does not take, or of the wrong kind; ours take none below 0."""
    where, signature = "params.yaml query.params", inspect.signature(rank)
    try:
        signature.bind(None, 0, **params)
    except TypeError as error:
        if not params:
            raise PipelineError(
                PARAM, f"strategy {row.name!r}: {error}", "let it take candidates and a count"
            ) from error
        raise PipelineError(
            where, f"strategy {row.name!r} {error}", "remove or correct the key"
        ) from error
    ours = row.engine != "user"
    for name, value in params.items():
        annotation = signature.parameters[name].annotation if name in signature.parameters else None
        word = NUMBERS.get(getattr(annotation, "__name__", str(annotation)))
        if word and not _is_number(value, whole=word != "a number", least=0 if ours else -math.inf):
            what = f"strategy {row.name!r} takes {word}{' of 0 or more' if ours else ''} for {name}, not {value!r}"
            raise PipelineError(where, what, "correct it")


def _is_number(value: object, *, whole: bool, least: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return False
    return math.isfinite(value) and value >= least


@functools.lru_cache(maxsize=1)
def _thread_pools(_modules: int) -> ThreadpoolController:
    """The thread pools of the libraries loaded so far, looked up anew only when modules were imported since."""
    return ThreadpoolController()


def _taken(candidates: Candidates, order: NDArray[np.intp]) -> Candidates:
    """The candidates in `order`, the labelled rows in the order of their content."""
    contents = np.lexsort((*candidates.labelled.T, candidates.labelled_class))
    held_out = candidates.held_out
    labelled = replace(
        candidates,
        labelled=candidates.labelled[contents],
        labelled_class=candidates.labelled_class[contents],
        held_out=None if held_out is None else held_out[contents],
    )
    if (order[1:] > order[:-1]).all():
        return labelled
    rows, committee, shares = labelled.probabilities, labelled.committee, labelled.stands_for
    return replace(
        labelled,
        ids=[labelled.ids[row] for row in order.tolist()],
        keys=labelled.keys[order],
        geometry=labelled.geometry[order],
        probabilities=None if rows is None else rows[order],
        committee=None if committee is None else committee[:, order],
        stands_for=None if shares is None else shares[order],
    )


def _check(candidates: Candidates, order: NDArray[np.intp]) -> None:
    """Raise PipelineError where the arrays are not what the contract says; `order` sorts the keys."""
    if (candidates.keys[order[1:]] == candidates.keys[order[:-1]]).any():
        raise PipelineError("query", "candidates do not have unique keys", "make the ids unique")
    if not np.isfinite(candidates.geometry).all() or not np.isfinite(candidates.labelled).all():
        raise PipelineError("query", "the geometry holds NaN or infinity", "repair the features")
    for name in ("probabilities", "committee", "held_out"):
        rows = getattr(candidates, name)
        if rows is not None and not _are_probabilities(rows):
            what = f"{name} hold NaN, a value outside [0, 1], or a row that does not sum to 1"
            raise PipelineError(
                "query", what, "repair the model's predict_proba or the calibration"
            )


def _are_probabilities(rows: NDArray[np.float64]) -> bool:
    return bool(rows.size == 0 or (rows.min() >= 0 and np.abs(rows.sum(axis=-1) - 1).max() <= 1e-6))


def _check_ranking(ranking: Ranking, wanted: int, n: int, name: str) -> None:
    """Raise PipelineError where a strategy broke the contract (a user's own may)."""
    if not isinstance(ranking, Ranking):
        what = f"strategy {name!r} returned {type(ranking).__name__}, not a Ranking"
        raise PipelineError(PARAM, what, "return Ranking(positions, scores, reasons, regime)")
    positions, scores, reasons = (
        np.asarray(ranking.positions),
        np.asarray(ranking.scores),
        ranking.reasons,
    )
    faults: tuple[tuple[Callable[[], bool], str], ...] = (
        (lambda: positions.ndim != 1, "positions that are not in one line"),
        (lambda: len(positions) != wanted, f"{len(positions)} picks where {wanted} were asked for"),
        (
            lambda: scores.shape != (wanted,) or len(reasons) != wanted,
            "not one score and reason per pick",
        ),
        (lambda: positions.dtype.kind not in "iu", "positions that are not whole numbers"),
        (lambda: positions.min() < 0 or positions.max() >= n, "positions outside the candidates"),
        (lambda: np.unique(positions).size != wanted, "the same row twice"),
        (
            lambda: scores.dtype.kind not in "fiu" or not np.isfinite(scores).all(),
            "scores that are not finite numbers",
        ),
        (
            lambda: not all(isinstance(said, str) for said in (*reasons, ranking.regime)),
            "a reason that is not text",
        ),
    )
    for broken, what in faults:
        if broken():
            raise PipelineError(PARAM, f"strategy {name!r} returned {what}", "correct the strategy")


def markdown() -> str:
    """The table of strategies, one row per name and engine, as Markdown."""
    head = ("strategy", "engine", "needs", "cost", "class weights", "when", "source")
    rows = [head, ("---",) * len(head)]
    rows += [
        (
            f"`{row.name}`",
            row.engine,
            ", ".join(row.needs) or "nothing",
            f"`{row.cost}`",
            "yes" if row.weighs else "-",
            row.when,
            row.source,
        )
        for row in TABLE
    ]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)
