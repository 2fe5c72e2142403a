"""The pipeline as its own files describe it: dvc.yaml's stages, params.yaml's values."""

from __future__ import annotations

import re
from pathlib import Path

from ruamel.yaml import YAML

from handbook.markdown import code, table

ROOT = Path(__file__).parent.parent
VALUE = re.compile(r"( *)(\w+):\s*(.*?)(?:\s{2,}# (.*))?$")
LABELS = "the classes, in the order in which people see them"


def stages_table() -> list[str]:
    """One row a stage, in the order of dvc.yaml."""
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    rows = []
    for name, stage in stages.items():
        reads = [dep for dep in stage["deps"] if not dep.startswith("stages/")]
        outs = [*stage.get("outs", []), *stage.get("metrics", [])]
        writes = [out if isinstance(out, str) else next(iter(out)) for out in outs]
        rows.append(
            (name, stage["desc"], ", ".join(map(code, reads)), ", ".join(map(code, writes)))
        )
    return table(("stage", "what it does", "reads", "writes"), rows)


def params_table() -> list[str]:
    """One row a value of params.yaml: its path, its default, its comment."""
    rows = [(code(name), code(value), meaning) for name, value, meaning in params_rows()]
    return table(("param", "value", "meaning"), rows)


def params_rows() -> list[tuple[str, str, str]]:
    """Dotted name, value as written, and comment of every value of params.yaml."""
    rows = []
    sections: list[str] = []
    for line in (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines():
        match = VALUE.match(line)
        if match is None:
            continue
        depth = len(match[1]) // 2
        value, meaning = match[3], match[4] or ""
        if value.startswith("# "):  # the comment of a section
            value, meaning = "", ""
        sections = [*sections[:depth], match[2]]
        name = ".".join(sections)
        if name == "labels":
            meaning = LABELS
        if value or meaning:
            rows.append((name, value, meaning))
    return rows
