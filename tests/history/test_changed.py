"""What happens when an id that people judged carries another content than it did."""

from __future__ import annotations

import csv
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import rounds.tables_now
from rounds.close import _push_data
from rounds.content import accept, changed, not_compared
from rounds.history import life, lines_of
from rounds.init import CARRIED, carry, fill_in
from rounds.project import Project
from rounds.status import report
from rounds.tables_now import tables_now
from rounds.verify import verify
from stages.answers.changed import id_then, ids_since, renamed
from stages.contract.canonical import read_jsonl, sha256, write_jsonl
from stages.contract.errors import PipelineError
from stages.contract.params import load
from stages.examples.content import asked_sha, exact_bytes
from stages.examples.tables import Table
from tests.history.inprocess import Stages, answer, closed, committed, new_project


def moved(change: int, before: str, after: str | None, rounds: int = 1) -> dict[str, object]:
    return {
        "change": change,
        "round": rounds,
        "kind": "moved",
        "id": before,
        "to": after,
        "sha": "s",
    }


def test_two_ids_that_swap_move_at_once_and_changes_follow_each_other() -> None:
    record = [moved(1, "a", "b"), moved(1, "b", "a"), moved(2, "b", "c"), moved(2, "d", None)]
    assert [renamed(item, 1, record) for item in "abd"] == ["c", "a", None]


def test_what_a_later_round_asked_is_not_moved() -> None:
    assert renamed("a", 2, [moved(1, "a", "b", rounds=1)]) == "a"


def test_an_id_counts_every_move_after_its_round_its_own_or_not() -> None:
    record = [moved(1, "a", "b", rounds=1), moved(2, "b", "c", rounds=2)]
    assert ids_since("a", 1, record) == ["a", "b", "c"]
    assert ids_since("z", 1, record) == ["z", "z", "z"]
    assert ids_since("b", 2, record) == ["b", "c"]
    assert ids_since("a", 3, record) == ["a"]
    assert ids_since("a", 1, [moved(1, "a", None)]) == ["a", None]


@pytest.mark.parametrize("rounds", [1, 2])
def test_an_id_of_today_is_found_under_the_one_of_its_time(rounds: int) -> None:
    record = [moved(1, "a", "b"), moved(1, "b", "a"), moved(2, "b", "c", 2), moved(2, "d", None, 2)]
    for item in "abdz":
        today = renamed(item, rounds, record)
        assert today is None or id_then(today, rounds, record) == item
    assert [id_then(item, 1, record) for item in "abcz"] == ["b", None, "a", "z"]
    assert [id_then(item, 2, record) for item in "abcd"] == ["a", None, "b", None]
    assert id_then("b", 3, record) == "b"


def test_a_correction_made_after_the_move_names_todays_id() -> None:
    record = [{**moved(1, "a", "b"), "corrections": 1}]
    assert [renamed("a", 1, record, correction=line) for line in (1, 2)] == ["b", "a"]


def shift_ids(project: Project) -> dict[str, str]:
    """Every pool row gets the id of the row before it, as row numbers do when the first row goes.
    Old id -> new.
    """
    path = project.root / project.params().data.pool
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    ids = [row["id"] for row in rows]
    new = dict(zip(ids, [ids[-1], *ids[:-1]], strict=True))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "id": new[row["id"]]} for row in rows)
    return new


@pytest.mark.slow
def test_moved_ids_are_found_refused_and_followed(tmp_path: Path) -> None:
    project = new_project(tmp_path / "p", rounds=1)
    seed_or_pool = {task["al_id"] for task in project.rounds()[0].tasks()}
    new = shift_ids(project)
    committed(project)
    ran: list[str] = []
    Stages.hooks.append(ran.append)
    asked = {task["al_id"] for past in project.rounds() for task in past.tasks()} & set(new)
    assert {row.id for row in changed(project)} == asked
    answer(project)
    with pytest.raises(
        PipelineError, match=rf"{len(asked)} asked ids carry another content than was judged"
    ) as error:
        closed(project)
    Stages.hooks.clear()
    assert not ran
    assert "rounds changed --ids-moved --why TEXT" in error.value.remedy
    assert any(
        line.startswith(f"content  {len(asked)} asked ids carry") for line in report(project)
    )
    assert [one.check for one in verify(project)[0] if one.check == "content"] == ["content"]

    accept(project, moved=True, why="exported anew", by="ann")
    assert not changed(project)
    closed(project)
    before = {new.get(item, item) for item in seed_or_pool}
    events = read_jsonl(project.root / "build/labels/events.jsonl")
    assert {row["id"] for row in events if row["round"] == 1} == before
    rows = read_jsonl(project.root / "build/labels/asked.jsonl")
    assert {tuple(row["ids"]) for row in rows if row["round"] == 1} == {
        (item, new.get(item, item)) for item in seed_or_pool
    }
    assert not [one for one in verify(project)[0] if one.check == "content"]
    # An example's life is told under the id that its content has now, with what it was and why.
    accepted = read_jsonl(project.root / "build/gate/accepted.jsonl")
    known = {row["id"]: row["label"] for row in accepted}
    for item in sorted(seed_or_pool & set(new))[:3]:
        facts = life(project, new[item])
        assert facts["label"] == known[new[item]]
        assert [row["round"] for row in facts["asked"]] == [1]
        assert [row["annotator"] for row in facts["answers"]] == ["ann"]
        assert any(line.endswith(f"was {item:<6} exported anew (ann)") for line in lines_of(facts))


def test_edited_contents_are_accepted_with_a_reason_until_they_change_again(tmp_path: Path) -> None:
    project = new_project(tmp_path / "p", rounds=0)
    item = next(task["al_id"] for task in project.last_round().tasks())
    path = project.root / project.params().data.pool
    original = path.read_text()
    row = next(line for line in original.splitlines() if line.startswith(f"{item},"))
    path.write_text(original.replace(row, f"{item},9.5,9.5"))
    with pytest.raises(PipelineError, match="no reason given"):
        accept(project, moved=False, why=" ", by="ann")
    assert [
        line["id"] for line in accept(project, moved=False, why="a typing error", by="ann")
    ] == [item]
    assert not changed(project)
    committed(project)
    assert "  round 1    edited     a typing error (ann)" in lines_of(life(project, item))
    path.write_text(original.replace(row, f"{item},7.5,9.5"))
    assert [one.id for one in changed(project)] == [item]
    path.write_text(original.replace(row + "\n", ""))
    assert [(one.id, one.now) for one in changed(project)] == [(item, None)]
    committed(project)
    with pytest.raises(
        PipelineError, match=f"pool and seed lack 1 of the asked ids: '{item}'; restore"
    ):
        closed(project)


def into_parts(project: Project, count: int = 3) -> Path:
    """Cut the pool's table into parts in a folder beside it, which data.pool then names."""
    pool = project.root / project.params().data.pool
    header, *lines = pool.read_text().splitlines(keepends=True)
    folder = pool.with_suffix("")
    folder.mkdir()
    for number in range(count):
        (folder / f"part-{number}.csv").write_text(header + "".join(lines[number::count]))
    pool.unlink()
    name = folder.relative_to(project.root).as_posix()
    fill_in(project.root / "params.yaml", {("data", "pool"): name})
    committed(project)
    return folder


def at_url(project: Project, folder: Path, scheme: str) -> Callable[[], None]:
    """Move the parts to a URL, which data.pool then names. What brings the folder's parts there once more."""
    place = f"memory://{folder}" if scheme == "memory" else f"file://{folder}"

    def upload() -> None:
        if scheme == "memory":
            files = fsspec.filesystem("memory")
            for path in folder.iterdir():
                files.pipe_file(f"{folder}/{path.name}", path.read_bytes())

    upload()
    fill_in(project.root / "params.yaml", {("data", "pool"): place})
    committed(project)
    return upload


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["", "memory", "file"])
def test_moved_ids_are_found_refused_and_followed_in_a_pool_in_parts(
    tmp_path: Path, scheme: str
) -> None:
    project = new_project(tmp_path / "p", rounds=0)
    folder = into_parts(project)
    upload = at_url(project, folder, scheme) if scheme else None
    assert not changed(project)
    before = {task["al_id"] for task in project.last_round().tasks()}
    rows = [line for part in sorted(folder.iterdir()) for line in part.read_text().splitlines()[1:]]
    ids = [line.partition(",")[0] for line in rows]
    new = dict(zip(ids, [ids[-1], *ids[:-1]], strict=True))
    for part in folder.iterdir():
        header, *lines = part.read_text().splitlines()
        renamed_lines = [new[line.partition(",")[0]] + line[line.index(",") :] for line in lines]
        part.write_text("\n".join([header, *renamed_lines]) + "\n")
    if upload:
        upload()
    committed(project)
    assert {row.id for row in changed(project)} == before
    with pytest.raises(PipelineError, match="asked ids carry another content than was judged"):
        closed(project)
    assert any(line.startswith("content  ") for line in report(project))
    assert [fault.check for fault in verify(project)[0] if fault.check == "content"] == ["content"]

    lines = accept(project, moved=True, why="exported anew", by="ann")
    assert {line["id"]: line["to"] for line in lines} == {item: new[item] for item in before}
    assert not changed(project)
    assert not [fault for fault in verify(project)[0] if fault.check == "content"]


def test_an_edited_text_in_one_part_is_found_though_the_others_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = new_project(tmp_path / "p", rounds=0)
    folder = into_parts(project)
    assert not changed(project)
    read = list[str]()
    real = rounds.tables_now.opened

    def counted(place: str) -> AbstractContextManager[Table]:
        read.append(Path(place).name)
        return real(place)

    monkeypatch.setattr(rounds.tables_now, "opened", counted)
    assert not changed(project)
    assert read == []
    item = project.last_round().tasks()[0]["al_id"]
    part = next(path for path in folder.iterdir() if f"\n{item}," in path.read_text())
    part.write_text(part.read_text().replace(f"\n{item},", f"\n{item},9"))
    assert [row.id for row in changed(project)] == [item]
    assert set(read) == {part.name}
    read.clear()
    assert [fault.check for fault in verify(project)[0] if fault.check == "content"] == ["content"]
    assert {"part-0.csv", "part-1.csv", "part-2.csv", "seed.csv"} <= set(read)
    accept(project, moved=False, why="a typing error", by="ann")
    assert not changed(project)


def test_a_table_that_is_not_here_or_a_url_out_of_reach_is_said_not_to_be_compared(
    tmp_path: Path,
) -> None:
    project = new_project(tmp_path / "p", rounds=0)
    assert not_compared(project) is None
    path = project.root / project.params().data.pool
    away = path.rename(path.with_suffix(".away"))
    name = project.params().data.pool
    said = (
        f"{name} is not here, so nothing is compared with what was asked; "
        f"`git checkout HEAD -- {name}` brings it back"
    )
    assert not_compared(project) == said
    assert f"content  {said}" in report(project)
    assert f"content: {said}" in verify(project)[1]
    away.rename(path)
    fill_in(project.root / "params.yaml", {("data", "pool"): f"file://{tmp_path}/nowhere"})
    said = not_compared(project) or ""
    assert said.startswith(f"file://{tmp_path}/nowhere cannot be listed (")
    assert said.endswith("), so nothing is compared with what was asked")
    assert f"content  {said}" in report(project)
    assert f"content: {said}" in verify(project)[1]
    committed(project)
    with pytest.raises(PipelineError, match="nowhere: cannot be listed"):
        closed(project)


def test_data_that_dvc_keeps_and_a_clone_lacks_is_said_before_the_run(tmp_path: Path) -> None:
    project = new_project(tmp_path / "p", rounds=0)
    pool = project.root / project.params().data.pool
    pool.unlink()
    pool.with_name(f"{pool.name}.dvc").write_text("outs: []\n")
    committed(project)
    answer(project)
    ran: list[str] = []
    Stages.hooks.append(ran.append)
    with pytest.raises(PipelineError) as error:
        closed(project, keep_data=True)
    modify = "dvc remote modify --local store url FOLDER"
    assert str(error.value) == (
        f"{pool}: it is not on this machine; say where its data is (`{modify}`), "
        "and `dvc pull` brings it"
    )
    (project.root / ".dvc" / "store").mkdir()
    with pytest.raises(PipelineError, match="it is not on this machine; `dvc pull` brings it"):
        closed(project)
    Stages.hooks.clear()
    assert not ran


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_ids_made_of_content_and_parts_of_other_formats_are_compared(
    tmp_path: Path, kind: str
) -> None:
    texts = [f"text {number}" for number in range(9)]
    project = Project(tmp_path)
    carry(tmp_path, CARRIED)
    (tmp_path / "data" / "pool").mkdir()
    for number in range(3):
        rows = [{"text": text} for text in texts[number::3]]
        path = tmp_path / "data" / "pool" / f"part-{number}.{kind}"
        if kind == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        else:
            write_jsonl(path, rows)
    url = f"file://{tmp_path}/data/pool"
    columns = {"pool": url, "seed": "data/none.csv", "id": "", "image": "", "text": "text"}
    fill_in(tmp_path / "params.yaml", {("data", name): value for name, value in columns.items()})
    tables = tables_now(project)
    shas = {sha256(text): text for text in texts}
    ids = {sha[:16] for sha in shas}
    assert tables.contents({*ids, "gone"}) == {sha[:16]: sha for sha in shas}
    assert tables.ids_of([*shas, "gone"]) == {sha: sha[:16] for sha in shas}


def test_the_same_values_have_the_same_content_in_any_format_order_and_company() -> None:
    params = load(Path(__file__).parents[2] / "params.yaml")
    data = params.data.model_copy(update={"text": "", "image": ""})
    numeric = params.model_copy(update={"data": data})
    of_csv = Table("pool.csv", {"id": ["1"], "x": ["3"], "y": ["-0.50"]}, [2])
    of_parquet = Table("test.parquet", {"note": ["q"], "y": [-0.5], "x": [3.0], "id": ["2"]}, [1])
    assert list(exact_bytes(of_csv, numeric, ["x", "y"])) == list(
        exact_bytes(of_parquet, numeric, ["x", "y"])
    )
    task = {"fields": {"x": "3.0", "y": "-0.5"}}
    assert asked_sha({"fields": {"y": "-.5", "x": "3"}}, numeric) == asked_sha(task, numeric)


def test_the_store_moves_with_the_project_and_one_out_of_reach_is_said_before_the_run(
    tmp_path: Path,
) -> None:
    project = new_project(tmp_path / "100% {done} [x]", rounds=0)
    config = project.root / ".dvc" / "config"
    assert "url = store" in config.read_text()
    assert str(tmp_path) not in config.read_text()
    gone = tmp_path / "50% nowhere" / "store"
    config.write_text(config.read_text().replace("url = store", f"url = {gone}"))
    committed(project)
    answer(project)
    ran: list[str] = []
    Stages.hooks.append(ran.append)
    with pytest.raises(PipelineError, match="the DVC remote 'store' cannot be reached") as error:
        closed(project)
    Stages.hooks.clear()
    assert not ran
    assert "dvc remote modify store url URL" in error.value.remedy
    assert closed(project, keep_data=True).startswith("Round 1:")
    assert (project.root / ".dvc" / "tmp" / "unpushed").exists()


def test_data_committed_without_a_push_is_pushed_with_the_next(tmp_path: Path) -> None:
    ran: list[tuple[str, ...]] = []

    def dvc(*words: str) -> None:
        ran.append(words)

    for now in (False, True, True):
        _push_data(Project(tmp_path), dvc, now=now)  # type: ignore[arg-type]  # stands in for DVC
    assert ran == [("push", "--all-commits"), ("push",), ("push",)]


def test_a_row_that_was_mended_is_followed_when_its_id_moves_later(tmp_path: Path) -> None:
    project = new_project(tmp_path / "p", rounds=0)
    item = next(task["al_id"] for task in project.last_round().tasks())
    path = project.root / project.params().data.pool
    row = next(line for line in path.read_text().splitlines() if line.startswith(f"{item},"))
    path.write_text(path.read_text().replace(row, f"{item},9.5,9.5"))
    accept(project, moved=False, why="a typing error", by="ann")
    path.write_text(path.read_text().replace(f"{item},9.5,9.5", "other,9.5,9.5"))
    (line,) = accept(project, moved=True, why="exported anew", by="ann")
    assert (line["id"], line["to"]) == (item, "other")
    assert not changed(project)
