"""What other Python programs may call: signatures and docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import rounds
from stages.prediction.predictor import Predictor

MEMBERS = ("predict_proba", "predict", "unlike", "classes_")


def python_block() -> list[str]:
    """A section a function or method."""
    lines = entry("rounds.load", rounds.load)
    for name in MEMBERS:
        member = inspect.getattr_static(Predictor, name)
        is_property = isinstance(member, property)
        function = member.fget if is_property else member
        assert function is not None
        lines += entry(f"model.{name}", function, called=not is_property)
    return lines[:-1]


def entry(name: str, function: Callable[..., Any], *, called: bool = True) -> list[str]:
    """Signature and docstring of a function, a blank line last."""
    signature = str(inspect.signature(function)) if called else ""
    shown = re.sub(r"^\(self(?:, )?", "(", signature.replace("'", ""))
    paragraphs = (inspect.getdoc(function) or "").split("\n\n")
    lines = [f"### {name}", "", "```python", f"{name}{shown}", "```", ""]
    for paragraph in paragraphs:
        if paragraph.startswith(">>>"):
            lines += ["```python", *paragraph.replace(">>> ", "").splitlines(), "```", ""]
        else:
            lines += [" ".join(paragraph.split()), ""]
    return lines
