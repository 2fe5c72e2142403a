"""What a backtest compares: every combination of strategy, features, model, and so on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML

from rounds.backtest.oracle import ORACLE
from stages.contract.errors import PipelineError
from stages.contract.imports import build
from stages.contract.params import Options, Params
from stages.strategies.registry import resolve

RANDOM = "random"


@dataclass(frozen=True)
class Variant:
    """One combination, in the words of the options; "" leaves params.yaml's value.

    strategy: `[engine:]name[?key=value]`. features: `kind[?key=value]`, with keys of the kind's own
    section. model: `import.path[?key=value]`. calibration: a method. control: a fraction of the
    batch.
    """

    strategy: str
    features: str = ""
    model: str = ""
    calibration: str = ""
    control: str = ""

    @property
    def name(self) -> str:
        """The name in tables and files: what was chosen, the model by its class alone."""
        path, mark, options = self.model.partition("?")
        model = path.rpartition(".")[2] + mark + options
        control = f"control {self.control}" if self.control else ""
        words = [self.strategy, self.features, model, self.calibration, control]
        return " ".join(filter(None, words))

    @property
    def is_random(self) -> bool:
        """Whether this is a baseline: random sampling."""
        return self.strategy == RANDOM

    @property
    def tried(self) -> int:
        """How many batches the oracle tries in a round; 0 for a strategy."""
        name, options = parsed(self.strategy)
        return int(options["batches"]) if name == ORACLE else 0


def variants(
    strategies: str,
    features: str,
    models: str,
    calibrations: str,
    controls: str,
    tried: int = 0,
) -> dict[str, Variant]:
    """Every combination of the comma-separated words, by name; first random with each model.

    So with each kind of features. Random sampling needs neither probabilities nor a control arm: it
    is not varied by them. tried: an oracle that tries so many batches a round comes last, with each
    model and each kind of features; 0: none.
    """
    lists = [
        [word.strip() for word in words.split(",")]
        for words in (strategies, features, models, calibrations, controls)
    ]
    baselines = [Variant(RANDOM, *words) for words in product(lists[1], lists[2])]
    combinations = [Variant(*words) for words in product(*lists)]
    others = [
        variant
        for variant in combinations
        if not (variant.is_random and (variant.calibration or variant.control))
    ]
    oracles: list[Variant] = []
    if tried:
        oracle = f"{ORACLE}?batches={tried}"
        oracles = [replace(baseline, strategy=oracle) for baseline in baselines]
    return {variant.name: variant for variant in [*baselines, *others, *oracles]}


def baselines(chosen: Collection[Variant]) -> dict[str, str]:
    """For each variant's name, that of random sampling with the same features and model."""
    random = {
        (variant.features, variant.model): variant.name for variant in chosen if variant.is_random
    }
    return {variant.name: random[variant.features, variant.model] for variant in chosen}


def parsed(word: str) -> tuple[str, Options]:
    """`name?key=value&key=value` as the name and its keyword arguments, values read as YAML."""
    name, _, tail = word.partition("?")
    pairs = [pair.partition("=") for pair in tail.split("&") if pair]
    return name, {key: YAML(typ="safe").load(text) for key, _, text in pairs}


def params_of(variant: Variant, params: Params) -> Params:
    """The params of a variant. Raises PipelineError for a value that is none."""
    values: dict[str, Any] = params.model_dump(by_alias=True)
    name, options = parsed(variant.strategy)
    if variant.tried:  # the oracle's batches are proposed with a model's probabilities
        name = "auto"
        options = {}
        values["query"]["control_fraction"] = 0.0
    engine, _, strategy = name.rpartition(":")
    values["query"] |= {"strategy": strategy, "params": options}
    if engine:
        values["query"]["engine"] = engine
    if variant.features:
        kind, own = parsed(variant.features)
        values["features"]["kind"] = kind
        if own:
            section = values["features"].get(kind)
            if not isinstance(section, dict):
                what = f"--features-kind {variant.features}: {kind} has no values of its own"
                raise PipelineError("rounds backtest", what, "leave out what follows the ?")
            section |= own
    if variant.model:
        path, model_params = parsed(variant.model)
        values["model"] = {"path": path, "params": model_params}
    if variant.calibration:
        values["calibrate"]["method"] = variant.calibration
    if variant.control:
        values["query"]["control_fraction"] = YAML(typ="safe").load(variant.control)
    try:
        checked = Params.model_validate(values)
    except ValidationError as error:
        raise PipelineError("rounds backtest", _fault(error), "correct the option") from error
    resolve(strategy, checked.query.engine, weighted=bool(checked.query.class_weights))
    build(checked.model, checked.seed, "model")
    return checked


def _fault(error: ValidationError) -> str:
    """The first thing that is wrong with the params, in a sentence."""
    fault = error.errors()[0]
    if fault["type"] == "value_error":  # of several values together: the message names them
        contradiction = fault["ctx"]["error"]
        return contradiction.what if isinstance(contradiction, PipelineError) else fault["msg"]
    return f"{'.'.join(map(str, fault['loc']))} is {fault['input']!r}: {fault['msg']}"
