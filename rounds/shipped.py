"""What a new project starts with: the pipeline's own files, and the params among them.

params.yaml is the one place where the values to start with stand; whoever needs params without a
project takes them from there.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from stages.contract.params import Import, Params, Section, load

PACKAGE = "labelrounds"
PACKED = Path(
    "rounds", "_project", "params.yaml"
)  # a project keeps the values to start with beside its own


def source() -> Path:
    """The folder with the pipeline's own files: a checkout, a project, or the package's copy."""
    packed = Path(__file__).parent / "_project"
    return packed if (packed / "dvc.yaml").is_file() else Path(__file__).parent.parent


def version() -> str:
    """The version of the code that runs: pyproject.toml beside it says it, or the installed wheel.

    A project's code runs where another version, or none, is installed. "unknown" where neither
    says it.
    """
    beside = Path(__file__).parent.parent / "pyproject.toml"
    if beside.is_file():
        described = tomllib.loads(beside.read_text(encoding="utf-8")).get("project", {})
        if described.get("name") == PACKAGE:
            return str(described["version"])
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        return "unknown"


def params_file() -> Path:
    """The params.yaml of a new project: that of a checkout, elsewhere the copy beside the code."""
    root = Path(__file__).parent.parent
    return root / PACKED if (root / PACKED).is_file() else root / "params.yaml"


def shipped_params(changes: Mapping[str, Any] | None = None) -> Params:
    """The params of a new project, with some values changed.

    changes: nested as params.yaml is. What it says of a section is changed in that section; a class
    to import and keyword arguments are replaced whole. Raises ValidationError for a value that
    params.yaml may not hold.
    """
    return Params.model_validate(_changed(_loaded(params_file()), changes or {}))


_loaded = cache(load)  # frozen, and asked for often


def _changed(section: Section, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The section's values by their keys in params.yaml, with the changes."""
    values = section.model_dump(by_alias=True)
    for key, value in changes.items():
        inner = getattr(section, "validate_" if key == "validate" else key, None)
        values[key] = value
        if isinstance(inner, Section) and not isinstance(inner, Import):
            values[key] = _changed(inner, value)
    return values


def shipped_value(name: str) -> Any:
    """A param's value in a new project, by its dotted name; None where it has none.

    A section is a mapping.
    """
    value: Any = shipped_params().model_dump(by_alias=True)
    for key in name.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value
