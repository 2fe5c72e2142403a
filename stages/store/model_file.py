"""Models on disk as skops files: the same bytes for the same model, audited before loading.

skops names its members after `id()` and stamps them with the clock. Here the ids are renumbered in
the order in which the schema mentions them, values of JSON nodes (which are never shared) each get
their own, and the clock of every member stands at the start of the zip epoch.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

from stages.contract.canonical import write_bytes
from stages.contract.errors import PipelineError

EPOCH = (1980, 1, 1, 0, 0, 0)


def canonical(data: bytes) -> bytes:
    """The same skops archive with ids and times that do not depend on the process that wrote it."""
    source = zipfile.ZipFile(io.BytesIO(data))
    numbers: dict[int, int] = {}
    members: dict[str, str] = {}
    fresh = iter(range(1, 1 << 62))

    def renumber(node: Any) -> Any:
        if isinstance(node, list):
            return [renumber(item) for item in node]
        if not isinstance(node, dict):
            return node
        renewed: dict[str, Any] = {}
        for key, value in node.items():
            if key == "__id__":
                shared = not node.get("is_json", False)
                renewed[key] = numbers.setdefault(value, next(fresh)) if shared else next(fresh)
            else:
                renewed[key] = renumber(value)
        if isinstance(node.get("file"), str):
            suffix = Path(node["file"]).suffix
            renewed["file"] = members.setdefault(node["file"], f"{len(members)}{suffix}")
        return renewed

    schema = renumber(json.loads(source.read("schema.json")))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as target:
        for old, new in members.items():
            target.writestr(zipfile.ZipInfo(new, EPOCH), source.read(old))
        target.writestr(zipfile.ZipInfo("schema.json", EPOCH), json.dumps(schema, indent=1))
    return out.getvalue()


def write_model(path: Path, model: Any, param: str = "params.yaml model.path") -> None:
    """Write a fitted scikit-learn estimator as canonical skops.

    param: the one that names it. Raises PipelineError if skops cannot hold it.
    """
    import skops.io

    try:
        data = skops.io.dumps(model)
    except Exception as error:
        what = f"skops cannot store {type(model).__name__} ({error})"
        raise PipelineError(param, what, "use one that skops supports") from error
    write_bytes(path, canonical(data))


def read_model(path: Path, trusted: list[str] | None = None) -> Any:
    """The model at `path`; types that skops does not know are refused unless in `trusted`."""
    import skops.io

    unknown = sorted(set(skops.io.get_untrusted_types(file=path)) - set(trusted or []))
    if unknown:
        what = f"holds types that were not reviewed: {', '.join(unknown)}"
        raise PipelineError(path, what, "review them and pass them as trusted")
    return skops.io.load(path, trusted=trusted)


def read_own_model(path: Path) -> Any:
    """A model that this very run wrote from the user's own params, whatever its types."""
    import skops.io

    return read_model(path, skops.io.get_untrusted_types(file=path))
