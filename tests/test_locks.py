"""The locks agree with each other and with pyproject.toml; workflows run pinned actions."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
PACKAGES: dict[str, list[dict]] = {}
for package in LOCK["package"]:
    PACKAGES.setdefault(package["name"], []).append(package)
OWN = PACKAGES["labelrounds"][0]
GROUPS = {  # what the project itself asks for: always, for an extra, in a dependency group
    "": OWN["dependencies"],
    **OWN["optional-dependencies"],
    **OWN["dev-dependencies"],
}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(file: str) -> dict[str, set[str]]:
    """The versions of each package that a requirements file names."""
    versions: dict[str, set[str]] = {}
    for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
        requirement = Requirement(line)
        (specifier,) = requirement.specifier
        versions.setdefault(canonical(requirement.name), set()).add(specifier.version)
    return versions


def reached(names: list[str]) -> set[str]:
    """The packages that some of the project's groups or extras come to, by uv.lock's arrows."""
    wanted = [arrow for name in names for arrow in arrows(GROUPS[name])]
    seen: set[tuple[str, str]] = set()
    while wanted:
        name, extra = wanted.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for package in PACKAGES[name]:
            inner = package.get("optional-dependencies", {}).get(extra, [])
            wanted += arrows(inner if extra else package.get("dependencies", []))
    return {name for name, _ in seen}


def arrows(listed: list[dict]) -> list[tuple[str, str]]:
    """(package, extra) of every dependency, the package without an extra among them."""
    return [(row["name"], extra) for row in listed for extra in ("", *row.get("extra", []))]


@pytest.mark.parametrize(
    ("file", "names"),
    [("requirements.lock", ["", "test"]), ("requirements-dev.lock", ["docs", "release"])],
)
def test_a_requirements_lock_holds_what_uv_lock_holds(file: str, names: list[str]) -> None:
    locked = pinned(file)
    assert set(locked) == reached(names)
    for name, versions in locked.items():
        assert versions == {package["version"] for package in PACKAGES[name]}, "run `make lock`"


def test_uv_lock_was_made_of_this_pyproject() -> None:
    described = OWN["metadata"]
    listed = [(word, None) for word in PYPROJECT["project"]["dependencies"]]
    for extra, words in PYPROJECT["project"]["optional-dependencies"].items():
        listed += [(word, extra) for word in words]
    expected = {
        (canonical(r.name), str(r.specifier), extra) for r, extra in map(requirement_of, listed)
    }
    written = {
        (row["name"], str(Requirement(f"x{row.get('specifier', '')}").specifier), extra_of(row))
        for row in described["requires-dist"]
    }
    assert written == expected, "run `make lock`"
    assert set(described["requires-dev"]) == set(PYPROJECT["dependency-groups"])
    assert LOCK["requires-python"] == ", ".join(
        sorted(PYPROJECT["project"]["requires-python"].split(","), reverse=True)
    )


def requirement_of(pair: tuple[str, str | None]) -> tuple[Requirement, str | None]:
    return Requirement(pair[0]), pair[1]


def extra_of(row: dict) -> str | None:
    match = re.search(r"extra == '([\w-]+)'", row.get("marker", ""))
    return match[1] if match else None


def test_every_locked_package_comes_from_the_public_index_with_hashes() -> None:
    for rows in PACKAGES.values():
        for row in rows:
            if row["name"] == "labelrounds":
                continue
            assert row["source"] == {"registry": "https://pypi.org/simple"}
            files = [*row.get("wheels", []), *filter(None, [row.get("sdist")])]
            assert files
            assert all(file["hash"].startswith("sha256:") for file in files)


def test_every_action_of_a_workflow_is_pinned_by_its_hash() -> None:
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        for action in re.findall(r"uses: (\S+)", path.read_text(encoding="utf-8")):
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), f"{path.name}: {action}"
