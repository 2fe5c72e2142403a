"""Strategies on single rows: random, and the plain measures of doubt."""

from __future__ import annotations

import numpy as np

from stages.contract.arrays import Floats
from stages.contract.identity import best_first
from stages.learning.scoring import margin_of
from stages.strategies import Candidates, Ranking


def least_confidence_of(probabilities: Floats) -> Floats:
    """Doubt in [0, 1 - 1/k]: one minus the probability of the likeliest class. (n, k) -> (n,).

    Source: Lewis, Catlett, "Heterogeneous uncertainty sampling for supervised learning" (1994).
    """
    return np.asarray(1 - probabilities.max(axis=1))


def entropy_of(probabilities: Floats) -> Floats:
    """Doubt in [0, ln k] nats; 0 ln 0 = 0. (n, k) -> (n,).

    Source: Shannon, "A mathematical theory of communication" (1948).
    """
    logs = np.log(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
    return np.asarray(-(probabilities * logs).sum(axis=1))


def by_score(
    candidates: Candidates, scores: Floats, count: int, regime: str, reason: str
) -> Ranking:
    """The rows of the highest score times class importance; `reason` is a format of the row's own `score`."""
    weighed = scores * candidates.importance()
    positions = best_first(weighed, candidates.keys, count)
    reasons = [reason.format(score=scores[row]) + candidates.weighing(row) for row in positions]
    return Ranking(positions, weighed[positions], reasons, regime)


def random(candidates: Candidates, count: int) -> Ranking:
    """The rows of the smallest keys: a uniform draw that is the prefix of one fixed permutation. Score 0."""
    positions = best_first(np.zeros(len(candidates)), candidates.keys, count)
    return Ranking(positions, np.zeros(len(positions)), ["uniform draw"] * len(positions), "random")


def least_confidence(candidates: Candidates, count: int) -> Ranking:
    """The rows whose likeliest class is least likely."""
    scores = least_confidence_of(candidates.require_probabilities("least_confidence"))
    return by_score(candidates, scores, count, "uncertain", "least confidence {score:.3f}")


def margin(candidates: Candidates, count: int) -> Ranking:
    """The rows whose two likeliest classes are closest; score = 1 - gap."""
    scores = margin_of(candidates.require_probabilities("margin"))
    return by_score(candidates, scores, count, "uncertain", "1 - margin {score:.3f}")


def entropy(candidates: Candidates, count: int) -> Ranking:
    """The rows of the highest entropy, in nats."""
    scores = entropy_of(candidates.require_probabilities("entropy"))
    return by_score(candidates, scores, count, "uncertain", "entropy {score:.3f}")


def power_margin(candidates: Candidates, count: int, beta: float = 1.0) -> Ranking:
    """A seeded draw without repeats, in proportion to doubt^beta: rows less alike than the top of the list.

    beta 0 is a uniform draw, a large beta is margin. Score = beta ln doubt + Gumbel noise; doubt =
    (1 - margin) x class importance.

    Source: Kirsch et al., "Stochastic batch acquisition: a simple baseline for deep active
    learning" (2021).
    """
    doubt = margin_of(candidates.require_probabilities("power_margin"))
    noise = np.random.default_rng(candidates.seed).gumbel(size=len(candidates))
    scores = beta * np.log(np.maximum(doubt * candidates.importance(), 1e-300)) + noise
    positions = best_first(scores, candidates.keys, count)
    reasons = [
        f"drawn by doubt, 1 - margin {doubt[row]:.3f}{candidates.weighing(row)}"
        for row in positions
    ]
    return Ranking(positions, scores[positions], reasons, "uncertain")
