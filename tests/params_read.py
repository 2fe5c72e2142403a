"""Which values of params.yaml the code reads: recorded while it runs, and read off its text."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import Any

from stages.contract.params import Import, Params, Section, _models

PARAMS_MODULE = "stages.contract.params"
WHOLE = {"model_dump"}  # what reads every value of a section at once


def fields_of(model: type[Section]) -> dict[str, tuple[str, type[Section] | None]]:
    """By attribute: the key in params.yaml, and the section that stands there, None for a value.

    A class to import, with its arguments, counts as one value.
    """
    found = {}
    for name, info in model.model_fields.items():
        kinds = [kind for kind in _models(info.annotation) if kind is not Import]
        found[name] = (info.alias or name, kinds[0] if kinds else None)
    return found


def sections(model: type[Section] = Params, path: str = "") -> dict[type[Section], str]:
    """Where each section stands in params.yaml, "" for the whole. Where the code runs is no param
    of a stage.
    """
    found = {model: path}
    for key, kind in fields_of(model).values():
        if kind and key != "compute":
            found |= sections(kind, f"{path}.{key}".lstrip("."))
    return found


PATHS = sections()


def values() -> set[str]:
    """The dotted keys of all values of params.yaml."""
    return {
        f"{path}.{key}".lstrip(".")
        for model, path in PATHS.items()
        for key, kind in fields_of(model).values()
        if not kind
    }


def path_of(model: type[Section], name: str) -> str | None:
    """The dotted key that an attribute of a section reads; None for what is no value of
    params.yaml.
    """
    if model not in PATHS:
        return None
    if name in WHOLE:
        return PATHS[model]
    key, kind = fields_of(model).get(name, ("", None))
    return f"{PATHS[model]}.{key}".lstrip(".") if key and not kind else None


def outside(read: Iterable[str], listed: Iterable[str]) -> set[str]:
    """What was read and is neither listed nor inside a section that is."""
    return {path for path in read if not any(f"{path}.".startswith(f"{name}.") for name in listed)}


@contextmanager
def recorded() -> Iterator[set[str]]:
    """The values of params.yaml that are read in the block; checking them while they are loaded
    does not count.
    """
    read: set[str] = set()
    loading = [False]
    validate = Params.model_validate

    def noting(self: Section, name: str) -> Any:
        path = None if loading[0] else path_of(type(self), name)
        if path:
            read.add(path)
        return object.__getattribute__(self, name)

    def loaded(*args: Any, **options: Any) -> Params:
        loading[0] = True
        try:
            return validate(*args, **options)
        finally:
            loading[0] = False

    Section.__getattribute__ = noting  # type: ignore[method-assign]
    Params.model_validate = loaded  # type: ignore[method-assign]
    try:
        yield read
    finally:
        del Section.__getattribute__
        del Params.model_validate


@contextmanager
def only(listed: Iterable[str]) -> Iterator[None]:
    """Fails where the code in the block reads a value of params.yaml that is not listed."""
    with recorded() as read:
        yield
    assert not outside(read, listed), (
        f"read, and not listed in dvc.yaml: {sorted(outside(read, listed))}"
    )


@dataclass(eq=False)
class Module:
    """What a file defines: its functions, classes and tables; its methods; its names for what it
    imports.
    """

    sections: dict[str, type[Section]]
    imported: dict[str, str]
    defined: dict[str, ast.AST] = field(default_factory=dict)
    methods: dict[str, list[ast.AST]] = field(default_factory=dict)


@cache
def _parsed(path: Path) -> Module:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    mine = [alias for node in imports if node.module == PARAMS_MODULE for alias in node.names]
    by_name = {model.__name__: model for model in PATHS}
    names = {
        alias.asname or alias.name: by_name[alias.name] for alias in mine if alias.name in by_name
    }
    module = Module(
        names, {alias.asname or alias.name: alias.name for node in imports for alias in node.names}
    )
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            module.defined[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            module.defined[ast.unparse(target)] = node
        if isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, ast.FunctionDef):
                    module.methods.setdefault(item.name, []).append(item)
    return module


class Reader(ast.NodeVisitor):
    """Collects what one function reads of the params, and the names it uses."""

    def __init__(
        self, annotations: dict[str, type[Section]], names: dict[str, type[Section]]
    ) -> None:
        self.annotations = annotations
        self.names = names
        self.read: set[str] = set()
        self.used: set[str] = set()
        self.called: set[tuple[str, str]] = set()

    def section(self, node: ast.expr) -> type[Section] | None:
        """The section that an expression is, None for anything else."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id)
        if not isinstance(node, ast.Attribute):
            return None
        owner = self.section(node.value)
        if owner:
            return fields_of(owner).get(node.attr, ("", None))[1]
        return Params if node.attr == "params" else None  # the field of an object

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        kinds = {
            arg.arg: self.annotations.get(ast.unparse(arg.annotation))
            for arg in every
            if arg.annotation
        }
        self.names |= {name: kind for name, kind in kinds.items() if kind}
        if "params = load()" in ast.unparse(node):
            self.names["params"] = Params
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        self.used.add(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        owner = self.section(node.value)
        path = path_of(owner, node.attr) if owner else None
        if path:
            self.read.add(path)
        elif owner:
            self.read |= read_by_property(owner, node.attr)
        else:
            self.called.add((ast.unparse(node.value), node.attr))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        owner = self.section(node.args[0]) if node.args else None
        if owner and isinstance(node.func, ast.Name) and node.func.id == "getattr":
            self.read.add(PATHS[owner])
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
        targets = node.targets[0].elts if isinstance(node.targets[0], ast.Tuple) else node.targets
        for target, value in zip(targets, values, strict=False):
            kind = self.section(value)
            if kind and isinstance(target, ast.Name):
                self.names[target.id] = kind
        self.generic_visit(node)


def read_by_property(owner: type[Section], name: str) -> set[str]:
    """What a property of a section reads, such as Params.reviews_a_batch."""
    made = owner.__dict__.get(name)
    if not isinstance(made, property):
        return set()
    reader = Reader({}, {"self": owner})
    reader.visit(ast.parse(dedent(inspect.getsource(made.fget))))
    return reader.read


@cache
def _read(code: ast.AST, module: Module) -> Reader:
    """What one function or table of a module reads and uses."""
    reader = Reader(module.sections, {})
    reader.visit(code)
    return reader


def read_by(stage: Path, files: Iterable[Path]) -> set[str]:
    """The values of params.yaml that a stage's `main` may read, itself or by what it calls in
    `files`.

    Where one name is that of several things all are followed: rather a little too much is counted
    than too little.
    """
    modules = {file: _parsed(file) for file in files}
    read: set[str] = set()
    todo: list[tuple[ast.AST, Module]] = [(modules[stage].defined["main"], modules[stage])]
    reached: set[ast.AST] = set()
    while todo:
        code, module = todo.pop()
        if code in reached:
            continue
        reached.add(code)
        reader = _read(code, module)
        read |= reader.read
        todo += [(module.defined[name], module) for name in reader.used & set(module.defined)]
        elsewhere = {module.imported[name] for name in reader.used & set(module.imported)}
        elsewhere |= {
            name for owner, name in reader.called if owner in module.imported
        }  # module.function
        methods = {name for _, name in reader.called}
        for other in modules.values():
            todo += [(other.defined[name], other) for name in elsewhere & set(other.defined)]
            todo += [(method, other) for name in methods for method in other.methods.get(name, ())]
    return read
