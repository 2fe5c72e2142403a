"""What pyproject.toml asks for is used, and what the installed code imports is asked for."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NOT_IMPORTED = {
    "openpyxl",  # pandas reads .xlsx with it
    "ruamel-yaml-clib",  # DVC reads YAML with it
    "wordllama",  # its files alone are read
}
EXTRAS = ("dask", "ray", "spark", "embed", "hub", "embed-transformers")
ELSEWHERE = {"prodigy"}  # the recipe runs in Prodigy's own environment
WITH_DVC = {"dvc-data", "dvc-objects"}  # DVC's own parts, at the version that it asks for
# extras that need not be installed where tests run: module -> package
OF_EXTRAS = {
    "joblibspark": "joblibspark",
    "pyspark": "pyspark",
    "ray": "ray",
    "sentence_transformers": "sentence-transformers",
}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def asked_for(words: list[str]) -> set[str]:
    return {canonical(Requirement(word).name) for word in words}


def imported_modules() -> set[str]:
    """The modules of others that stages/ and rounds/ import anywhere."""
    modules: set[str] = set()
    for folder in ("stages", "rounds"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    modules |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    modules.add(node.module.partition(".")[0])
    return modules - set(sys.stdlib_module_names) - {"stages", "rounds"}


def packages() -> dict[str, set[str]]:
    """Each imported module, and the packages that bring it."""
    installed = packages_distributions()
    return {
        module: {canonical(OF_EXTRAS.get(module, name)) for name in installed.get(module, [module])}
        for module in imported_modules()
    }


def test_every_dependency_is_imported_by_the_installed_code() -> None:
    used = set().union(*packages().values())
    assert asked_for(PROJECT["dependencies"]) - used - NOT_IMPORTED == set()


def test_every_module_that_the_installed_code_imports_is_a_dependency_or_an_extra() -> None:
    extras = [word for extra in EXTRAS for word in PROJECT["optional-dependencies"][extra]]
    asked = asked_for(PROJECT["dependencies"]) | asked_for(extras) | WITH_DVC | ELSEWHERE
    missing = {module for module, names in packages().items() if not names & asked}
    assert missing == set()
