"""Every error of the pipeline and its commands: what is wrong, and what to do about it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeGuard

from handbook.markdown import table

ROOT = Path(__file__).parent.parent
FOLDERS = ("stages", "rounds")
GAP = "…"  # what the error's own words say: a name, a number, a file


class Raised(NamedTuple):
    """A call of PipelineError; what or remedy is empty where only the run knows it."""

    where: str  # file:line of the code
    what: str
    remedy: str


Texts = dict[str, list[ast.expr]]  # name -> what it is assigned, in the order of the lines


def raised() -> list[Raised]:
    """All errors, in the order of the code."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return [error for path in paths for error in raised_in(path)]


def raised_in(path: Path) -> Iterator[Raised]:
    """The errors that one module raises."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    constants = assigned(module.body)
    functions = [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef)]
    inner = {id(node) for outer in functions for node in ast.walk(outer) if node is not outer}
    for function in functions:
        if id(function) in inner:
            continue
        texts = {**constants, **assigned(ast.walk(function))}
        for node in ast.walk(function):
            if is_error(node):
                what, remedy = (text_of(part, texts, node.lineno) for part in node.args[1:3])
                yield Raised(f"{path.relative_to(ROOT)}:{node.lineno}", what, remedy)


def is_error(node: ast.AST) -> TypeGuard[ast.Call]:
    """Whether it is a call of PipelineError that names its three parts."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "PipelineError"
        and len(node.args) == 3
    )


def assigned(nodes: Iterable[ast.AST]) -> Texts:
    """What names are assigned by some statements, in the order of the lines."""
    texts: Texts = {}
    statements = [node for node in nodes if isinstance(node, ast.Assign)]
    for node in sorted(statements, key=lambda node: node.lineno):
        for target in node.targets:
            if isinstance(target, ast.Name):
                texts.setdefault(target.id, []).append(node.value)
    return texts


def text_of(node: ast.expr, texts: Texts, line: int) -> str:
    """A text as it stands in the code, with a gap for each value; empty where it has no words.

    A name is what it was assigned last above the line.
    """
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(text_of(part, texts, line) or GAP for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return "".join(text_of(part, texts, line) or GAP for part in (left, right))
        case ast.IfExp(body=body, orelse=orelse):
            both = [text_of(part, texts, line) for part in (body, orelse)]
            return " / ".join(text for text in both if text)
        case ast.Name(id=name):
            above = [value for value in texts.get(name, []) if value.lineno <= line]
            return text_of(above[-1], texts, above[-1].lineno - 1) if above else ""
        case _:
            return ""


def errors_table() -> list[str]:
    """One row for each text of an error, in the order of the alphabet."""
    remedies: dict[str, set[str]] = {}
    for error in raised():
        if letters(error.what):
            remedies.setdefault(error.what, set()).add(error.remedy or "as the line says")
    rows = [
        (cell(what), cell("; or: ".join(sorted(remedies[what]))))
        for what in sorted(remedies, key=letters)
    ]
    return table(("what is wrong", "what to do"), rows)


def letters(text: str) -> str:
    """The letters of a text alone, small: the order of a dictionary."""
    return "".join(letter for letter in text.lower() if letter.isalpha())


def cell(text: str) -> str:
    """A text that stands in a table's cell as it is."""
    one_line = " ".join(text.split())
    for sign in ("\\", "*", "_", "<", "["):
        one_line = one_line.replace(sign, f"\\{sign}")
    return one_line
