"""`rounds.load`: a project's model, ready to predict, in any program that has this package."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.contract.errors import PipelineError

if TYPE_CHECKING:
    from stages.prediction.predictor import Predictor

FOLDER = "build/predictor"


def load(source: str | Path, rev: str | None = None, trusted: Sequence[str] = ()) -> Predictor:
    """The model of a labelling project: `predict_proba(rows)`, `predict(rows)`, `classes_`.

    source: a predictor's folder, a project's folder, or the URL of a project's git repository; rev:
    a commit, branch or tag of it, by default what is there now. trusted: types in a model or
    transformer of your own that skops does not know. Nothing in the file is run before its types
    are checked. Raises PipelineError where there is no model.

    >>> model = rounds.load("shop", rev="v1.0")
    >>> model.predict(["where is my parcel?"])
    """
    from stages.prediction.predictor import read_predictor

    folder = Path(source)
    if rev is None and "://" not in str(source):
        is_project = (folder / "dvc.yaml").is_file()
        return read_predictor(folder / FOLDER if is_project else folder, trusted)
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "predictor"
        _fetch(str(source), rev, copy)
        return read_predictor(copy, trusted)


def _fetch(source: str, rev: str | None, target: Path) -> None:
    """Copy the predictor of a commit out of git and DVC.

    Raises PipelineError where it cannot be had.
    """
    from dvc.api import DVCFileSystem

    where = f"{source} at {rev}" if rev else source
    try:
        files: Any = DVCFileSystem(url=source, rev=rev)
        if not files.isdir(FOLDER):
            what = f"no {FOLDER} there"
            raise PipelineError(where, what, "name a commit of `rounds log` that has a model")
        files.get(FOLDER, str(target), recursive=True)
    except PipelineError:
        raise
    except Exception as error:  # git's, DVC's and every file system's own
        reason = str(error).strip().splitlines() or [type(error).__name__]
        what = f"the model cannot be fetched ({reason[0]})"
        raise PipelineError(where, what, "`dvc fetch`, or name another commit") from error
