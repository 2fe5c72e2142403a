"""What a backtest replays on: a labelled table, or the answered rounds of a project."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

from rounds.backtest.loops import Changes, refuse_unless_ours
from rounds.backtest.options import Options
from rounds.init import labels_in, settings
from rounds.project import Project
from rounds.shipped import params_file
from stages.answers.ledger import Labels, read_labels
from stages.answers.pace import is_work
from stages.answers.prodigy import NotAnAnswer, read_answer
from stages.batch.export import fields_of
from stages.contract.canonical import Row, jsonl, numbered_rows, write_bytes
from stages.contract.errors import PipelineError
from stages.contract.params import Params
from stages.examples.tables import Table, read_table
from stages.learning.calibration import drawn_at_random
from stages.store.index import SPLITS, read_index
from stages.store.parts import open_pool
from stages.store.read import from_tables

FEWEST_TIMES = 10  # gaps between answers needed to tell how long an answer takes
NO_TEST = "No test table: a quarter of the rows, stratified, was held out, anew in each repeat."
GATE_OFF: Changes = {
    ("gate", "max_quarantine"): 0.0,
    ("gate", "hold"): [],
    ("clean_seed", "max_suspects"): 0.0,
}


@dataclass(frozen=True)
class Source:
    """The tables and the params of a backtest.

    params, changes: the params.yaml to start from, and what to change in it. notes: sentences that
    a reader of the result must know.
    """

    data: Path
    test: Path | None
    params: Path
    changes: Changes
    seed_size: int
    rounds: int
    notes: list[str]


def source_of(options: Options) -> Source:
    """What the options name. Raises PipelineError where that is not clear."""
    from_project = options.data is None
    if options.project != from_project or options.project == bool(options.label):
        what = "what to replay is not clear"
        raise PipelineError("rounds backtest", what, "give DATA and --label, or --project")
    if options.seed_size == 1:
        remedy = "0 starts without labels; else 2 or more"
        raise PipelineError("--seed-size 1", "one label teaches nothing", remedy)
    if options.data is None:
        return project_source(Project.find(Path()), options)
    return table_source(options.data, options)


def table_source(data: Path, options: Options) -> Source:
    """A labelled table with the params that its options mean."""
    changes = data_changes(data, options)
    if options.params is not None:  # what is not about the data is the user's choice then
        changes = {
            keys: value
            for keys, value in changes.items()
            if keys[0] != "model" and keys[-1] not in {"size", "words"}
        }
    return Source(
        data=data,
        test=options.test,
        params=options.params or params_file(),
        changes=changes | loop_changes(options),
        seed_size=options.seed_size,
        rounds=options.rounds,
        notes=[NO_TEST] if options.test is None else [],
    )


def loop_changes(options: Options) -> Changes:
    """The params that the options about the loops mean."""
    changes: Changes = {("query", "batch_size"): options.batch}
    return changes | GATE_OFF if options.no_gate else changes


def data_changes(data: Path, options: Options) -> Changes:
    """The params that the options about the data mean.

    Raises PipelineError unless one kind of data is named, and for a column that a table lacks.
    """
    if sum(map(bool, (options.text, options.features, options.image))) != 1:
        remedy = "give one of --text, --features and --image"
        raise PipelineError("rounds backtest", "what to learn from is not clear", remedy)
    columns = {
        "id": options.id_column,
        "label": options.label,
        "text": options.text,
        "image": options.image,
    }
    paths = [data, options.test] if options.test else [data]
    for option, name in columns.items():
        for path in paths if name else []:
            read_table(path).column(name, f"--{option}")
    numbers: list[str] = []
    if options.features not in {"", "all"}:
        numbers = [name.strip() for name in options.features.split(",")]
    kind = "numeric"
    if options.text:
        kind = "text"
    elif options.image:
        kind = "image"
    changes = settings(kind, columns, numbers, labels_in(paths, options.label))
    return {**changes, ("data", "images"): str(data.parent)}


def project_source(project: Project, options: Options) -> Source:
    """A project's labelled rows, written to --out as a table, with the project's own params.

    Half of the rows that are not held out are left for strategies to choose from: the loops have
    fewer rounds than the options say where the rows do not suffice. Raises PipelineError when --out
    holds a backtest of other labels.
    """
    rows, from_seed, note = own_rows(project)
    count = rows.count(b"\n")
    seed_size = min(from_seed, count // 4)
    if seed_size < 2:
        seed_size = 0
    to_ask = (3 * count // 4 - seed_size) // 2
    rounds = max(1, min(options.rounds, to_ask // options.batch))
    if rounds < options.rounds:
        fewer = f"{rounds} of {options.rounds} rounds"
        note += f" {fewer}, so that half of the rows are left to choose from."
    test = project.root / project.params().data.test
    has_test = len(read_table(test, may_be_empty=True)) > 0
    return Source(
        data=write_own_rows(options.out, rows),
        test=test if has_test else None,
        params=project.root / "params.yaml",
        changes=loop_changes(options),
        seed_size=seed_size,
        rounds=rounds,
        notes=[note] if has_test else [note, NO_TEST],
    )


def write_own_rows(out: Path, rows: bytes) -> Path:
    """Write the table of a project's labelled rows, unless it is there.

    Raises PipelineError when --out holds a backtest of other labels.
    """
    data = out / "labelled.jsonl"
    if (out / "plan.json").is_file():
        if data.read_bytes() != rows:
            raise PipelineError(out, "holds a backtest of other labels", "name another --out")
        return data
    refuse_unless_ours(out, data)
    write_bytes(data, rows)
    return data


def own_rows(project: Project) -> tuple[bytes, int, str]:
    """A project's labelled rows as JSONL, how many are its seed, and a note for the reader."""
    params = project.params()
    features = project.root / "build" / "features"
    accepted = read_labels(project.root / "build" / "gate" / "accepted.jsonl", params.labels)
    paths = table_paths(project, params)
    learnt = fields_of(paths["pool"], params)
    names = None if learnt is None else {params.data.id, *learnt}
    cells = from_tables(accepted.ids, paths, features, partial(cells_of_row, names=names))
    rows = [
        {**cells[item], params.data.label: row["label"]}
        for item, row in zip(accepted.ids, accepted.rows, strict=True)
    ]
    from_seed = sum(row["round"] == 0 for row in accepted.rows)
    return jsonl(rows), from_seed, sample_note(accepted, features, params)


def table_paths(project: Project, params: Params) -> dict[str, str]:
    """The path or URL of pool, seed and test."""
    paths: dict[str, str] = {}
    for name in SPLITS:
        path: str = getattr(params.data, name)
        paths[name] = path if "://" in path else str(project.root / path)
    return paths


def cells_of_row(table: Table, row: int, names: set[str] | None) -> Row:
    """The cells of one row of a table, by column: those of `names`, None for all.

    A seed may have columns that the pool lacks. Nothing is learnt from them.
    """
    return {
        name: table.column(name, "data")[row]
        for name in table.columns
        if names is None or name in names
    }


def sample_note(accepted: Labels, features: Path, params: Params) -> str:
    """How many rows a backtest on a project's own labels can choose from, and what that means."""
    index = read_index(features)
    parts = open_pool(features)
    pool_rows = index.split.count("pool") if parts is None else parts.rows
    total = index.split.count("seed") + pool_rows
    return (
        f"Effective sample: {len(accepted.rows)} labelled rows of {total}; strategies choose among "
        f"these alone. {drawn_at_random(accepted).sum()} were drawn at random, the others by "
        f"{params.query.strategy}, so gains are smaller than on the whole pool and lean to what it "
        "likes."
    )


def seconds_per_answer(path: Path) -> float:
    """The median time between two answers of one person, breaks left out.

    Raises PipelineError with too few answers to tell.
    """
    times: dict[str, list[float]] = {}
    for number, row in numbered_rows(path):
        try:
            answer = read_answer(row)
        except NotAnAnswer as reason:
            where = f"{path}:{number}"
            raise PipelineError(where, str(reason), "repair or remove the row") from reason
        if answer.at is not None:
            times.setdefault(answer.annotator, []).append(answer.at)
    gaps = [after - before for own in times.values() for before, after in pairwise(sorted(own))]
    worked = [gap for gap in gaps if is_work(gap)]
    if len(worked) < FEWEST_TIMES:
        what = f"only {len(worked)} answers with a time"
        raise PipelineError(path, what, f"give {FEWEST_TIMES} or more, or leave it out")
    return median(worked)
