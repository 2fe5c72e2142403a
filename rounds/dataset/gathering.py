"""Gathering what is exported: every label with its row's content and where the label comes from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from rounds.commands import commit_named
from rounds.dataset.columns import MEANINGS, Column
from rounds.dataset.content import LABEL, content_columns, content_names, contents, index_of
from rounds.finish import PIPELINE, model_commit
from rounds.finished import LOCK
from rounds.labels import with_commits
from rounds.project import Project
from stages.answers.ledger import AcceptedLabel, CountedVote, read_rows
from stages.answers.scheme import Meaning, sha_of, table_meaning
from stages.contract.canonical import Row, read_json
from stages.contract.errors import PipelineError
from stages.contract.params import Params
from stages.proof.finished_tables import HUMAN
from stages.store.index import Index

TRAIN, TEST, MACHINE = "train", "test", "machine"  # the splits, in the order of the card


@dataclass(frozen=True)
class DataSet:
    """What is exported. splits: rows by column name, sorted by id; none is empty.

    task: as the Hub names it; left_out: labelled rows whose content the test set has too; finished:
    what metrics/finish.json says, None without labels by the machine.
    """

    task: str
    columns: list[Column]
    label: str
    classes: list[str]
    splits: dict[str, list[Row]]
    left_out: int
    finished: Row | None


class Names:
    """The names of the columns in the files: the user's own for id, label and content.

    What is said of a label gets an underscore where the content has a column of that name.
    """

    def __init__(self, params: Params, content: list[str]) -> None:
        taken = set(content)
        self.of: dict[str, str] = {}
        wanted = {"id": params.data.id or "id", "label": params.data.label}
        wanted |= {name: name for name in MEANINGS}
        for role, first in wanted.items():
            name = first
            while name in taken:
                name += "_"
            taken.add(name)
            self.of[role] = name


def gather(project: Project, *, anonymous: bool) -> DataSet:
    """The labelled rows of the project as its last round left them.

    anonymous: numbers stand for the names of annotators. Raises PipelineError without any label.
    """
    params = project.params()
    accepted = read_rows(project.root / "build" / "gate" / "accepted.jsonl", AcceptedLabel)
    given: list[Row] = [{**row} for row in with_commits(project, accepted, "HEAD")]
    finished = finish_facts(project)
    machine = machine_labels(project) if finished else []
    if not given:
        what = "no label was accepted yet, so there is nothing to export"
        raise PipelineError(project.root, what, "label some rows and run `rounds close`")
    add_votes(project, given)
    if anonymous:
        hide_names(given)
    index = index_of(project, (row["id"] for row in (*given, *machine)))
    splits = {TRAIN: not_tested(given, index), TEST: test_rows(index)}
    splits[MACHINE] = not_tested(machine, index)
    kept = {name: rows for name, rows in splits.items() if rows}
    left_out = len(given) + len(machine) - len(splits[TRAIN]) - len(splits[MACHINE])
    return with_content(project, params, kept, left_out, finished)


def finish_facts(project: Project) -> Row | None:
    """metrics/finish.json where the present model finished the pool, else None."""
    path = project.root / "metrics" / "finish.json"
    if not path.is_file() or not (project.root / PIPELINE).is_file():
        return None
    facts: Row = read_json(path)
    return facts if facts["model"] == model_commit(project) else None


def is_out_of_date(project: Project) -> bool:
    """Whether the pool was finished by a model of an earlier round only."""
    return (project.root / LOCK).is_file() and finish_facts(project) is None


def machine_labels(project: Project) -> list[Row]:
    """The labels that `rounds finish` let the machine give."""
    import pyarrow.parquet as pq

    path = project.root / "build" / "finish" / "finished.parquet"
    commit = commit_named(project.root, model_commit(project), PIPELINE)
    rows = [row for row in pq.read_table(path).to_pylist() if row["by"] != HUMAN]
    return [
        {
            "id": row["id"], "label": row["label"], "source": MACHINE, "round": row["round"],
            "arms": [], "annotators": [], "votes": [], "confidence": row["confidence"],
            "commit": commit, "copy_of": None,
        }
        for row in rows
    ]  # fmt: skip


def add_votes(project: Project, rows: Iterable[Row]) -> None:
    """Give every label the votes that it stands on; a copy has those of the row that was asked."""
    votes: dict[str, list[Row]] = defaultdict(list)
    for vote in read_rows(project.root / "build" / "gate" / "votes.jsonl", CountedVote):
        votes[vote["id"]].append({name: vote[name] for name in ("annotator", "label", "round")})
    for row in rows:
        row["votes"] = votes[row["copy_of"] or row["id"]]


def hide_names(rows: Iterable[Row]) -> None:
    """Put annotator-1, annotator-2, ... in the place of names, by the order of first labels."""
    every = list(rows)
    found = sorted(
        (vote["round"], row["id"], vote["annotator"]) for row in every for vote in row["votes"]
    )
    people = dict.fromkeys(name for _, _, name in found if name)
    given = {name for row in every for name in row["annotators"]}
    people |= dict.fromkeys(sorted(given - set(people)))
    shown = {name: f"annotator-{number}" for number, name in enumerate(people, start=1)}
    shown[""] = ""
    for row in every:
        row["annotators"] = [shown[name] for name in row["annotators"]]
        row["votes"] = [{**vote, "annotator": shown[vote["annotator"]]} for vote in row["votes"]]


def not_tested(rows: Iterable[Row], index: Index) -> list[Row]:
    """The rows whose content the test set has not: what a model is tested on, none may learn."""
    test = index.rows("test")
    tested = set(index.sha[test])
    return [row for row in rows if index.sha[index.row_of[row["id"]]] not in tested]


def test_rows(index: Index) -> list[Row]:
    """The test set; its labels are filled in from its table."""
    return [
        {
            "id": item, "source": TEST, "round": None, "arms": [], "annotators": [], "votes": [],
            "confidence": None, "commit": None, "copy_of": None,
        }
        for item in index.ids[index.rows("test")]
    ]  # fmt: skip


def understood_in_test(project: Project, params: Params) -> Callable[[str], Meaning]:
    """What a label of the test table means today."""
    path = project.root / params.data.test
    changes = project.scheme()
    return partial(table_meaning, changes=changes, table="test", data_sha=sha_of(path))


def with_content(
    project: Project,
    params: Params,
    splits: Mapping[str, Collection[Row]],
    left_out: int,
    finished: Row | None,
) -> DataSet:
    """The data set with the content of every row, and all columns under their names."""
    ids = [row["id"] for rows in splits.values() for row in rows]
    names = content_names(project, params)
    cells = contents(project, params, ids, names)
    named = Names(params, names).of
    shown = content_columns(names, params, cells)
    first = [Column(named["id"], "text", "the row's unique id"), *shown]
    first.append(Column(named["label"], "class", "the class"))
    facts = [Column(named[name], kind, meaning) for name, (kind, meaning) in MEANINGS.items()]
    understood = understood_in_test(project, params)
    full: dict[str, list[Row]] = {}
    for split, rows in splits.items():
        full[split] = []
        for row in sorted(rows, key=lambda row: str(row["id"])):
            here = cells[row["id"]]
            tested = understood(here.get(LABEL) or "")
            if split == TEST and tested.retired:
                continue
            known = {"label": tested.label, "confidence": None, **row}
            content = {name: here[name] for name in names}
            full[split].append(content | {name: known[role] for role, name in named.items()})
    return DataSet(
        task=task_of(params),
        columns=[*first, *facts],
        label=named["label"],
        classes=params.labels,
        splits=full,
        left_out=left_out,
        finished=finished,
    )


def task_of(params: Params) -> str:
    """What a model is to do with the rows, in the Hub's words."""
    if params.data.image:
        return "image-classification"
    return "text-classification" if params.data.text else "tabular-classification"
