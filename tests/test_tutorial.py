"""The tutorial's commands run as they stand, and its pictures show the page as it is."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from handbook.screenshots import CODE, IMAGES, MADE_OF, TUTORIAL, code_hash
from tests.conftest import shell

PERSON = {
    f"GIT_{who}_{what}": "ada" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
}
RUN = re.compile(r"<!-- run(?:: (\S+))? -->\n```sh\n(.*?)```", re.DOTALL)


@pytest.mark.slow
def test_the_tutorials_commands_run_as_they_stand(tmp_path: Path) -> None:
    shutil.copy(TUTORIAL / "questions.csv", tmp_path)
    blocks = RUN.findall((TUTORIAL / "index.md").read_text(encoding="utf-8"))
    assert len(blocks) == 6
    script = "".join(lines for _, lines in blocks)
    oracle = f"rounds annotate --oracle {TUTORIAL / 'truth.csv'}"
    assert script.count("rounds annotate --open") == 1
    said = shell(
        tmp_path, "bash", "-euc", script.replace("rounds annotate --open", oracle), **PERSON
    )
    assert "40 of 40 rows answered" in said or "next" in said
    assert (tmp_path / "shop" / "report.html").is_file()
    assert len((tmp_path / "shop" / "labelled.csv").read_text().splitlines()) == 401


@pytest.mark.slow
def test_no_picture_is_older_than_the_code_of_what_it_shows() -> None:
    made_of = json.loads(MADE_OF.read_text(encoding="utf-8"))
    assert set(CODE) == set(made_of) == {path.name for path in IMAGES.glob("*.png")}
    for name, patterns in CODE.items():
        assert made_of[name] == code_hash(patterns), f"{name}: run `python -m handbook.screenshots`"
