"""Objects by import path: the user's classifier, transformer or strategy, named in params.yaml.

Naming a path runs that code, as importing any module does: treat params.yaml as code when you take
it from others.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

from stages.contract.errors import PipelineError, closest
from stages.contract.params import Import


def imported(path: str, param: str) -> Any:
    """The object at `package.module.name`.

    Raises PipelineError naming the param, and the closest name there.
    """
    module_name, _, name = path.rpartition(".")
    try:
        module = import_module(module_name)
    except ImportError as error:
        remedy = "correct the path, or install the package"
        raise PipelineError(
            f"params.yaml {param}", f"cannot import {module_name!r} ({error})", remedy
        ) from error
    if not hasattr(module, name):
        what = f"{module_name!r} has no {name!r}{closest(name, dir(module))}"
        raise PipelineError(f"params.yaml {param}", what, "correct the path")
    return getattr(module, name)


def build(spec: Import, seed: int, param: str) -> Any:
    """A new object of the class at `spec.path`.

    The seed is its random_state where it takes one that `spec.params` does not give.
    """
    factory = imported(spec.path, f"{param}.path")
    options = dict(spec.params)
    try:
        if "random_state" in inspect.signature(factory).parameters:
            options.setdefault("random_state", seed)
        return factory(**options)
    except (TypeError, ValueError) as error:
        remedy = "correct the keyword arguments"
        raise PipelineError(
            f"params.yaml {param}.params", f"{spec.path} refused them ({error})", remedy
        ) from error
