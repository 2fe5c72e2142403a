"""The options of `rounds backtest`, as one record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """What the command line says; each field is the option of that name, "" or None for none."""

    # the data
    data: Path | None
    project: bool
    label: str
    text: str
    features: str
    image: str
    id_column: str
    test: Path | None
    # what to compare
    strategy: str
    features_kind: str
    model: str
    calibration: str
    control: str
    # the loops
    seed_size: int
    batch: int
    rounds: int
    repeats: int
    oracle: int
    noise: float
    no_gate: bool
    params: Path | None
    # the results
    target: float | None
    minutes: Path | None
    jobs: int
    out: Path
