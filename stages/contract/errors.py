"""The pipeline's one error class: a fault of the data, the params or the history, in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PipelineError(ValueError):
    """`<file:line or param>: <what is wrong, what was expected>; <what to do>`, on one line."""

    def __init__(self, where: object, what: str, remedy: str) -> None:
        self.where = str(where)
        self.what = what
        self.remedy = remedy
        super().__init__(" ".join(f"{where}: {what}; {remedy}".split()))

    def __reduce__(self) -> tuple[type[PipelineError], tuple[str, str, str]]:
        return type(self), (self.where, self.what, self.remedy)


def closest(word: str, known: Iterable[str]) -> str:
    """The known word most like `word`, as ` (did you mean 'x'?)`; an empty string for none."""
    options = list(known)
    exact = [option for option in options if option.casefold().strip() == word.casefold().strip()]
    near = exact or difflib.get_close_matches(word, options, n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""
