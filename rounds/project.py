"""Where a labelling project keeps its things, and what state its rounds are in.

A round is a folder data/rounds/NNN. It holds what was issued and never changes again (asked.jsonl,
batch.jsonl, manifest.json, verdicts.jsonl), what people answered (answers/*.jsonl, append-only),
how they corrected older labels (corrections.jsonl, append-only), and closed.json when it was closed
before every row was answered.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rounds.commands import is_as_committed
from rounds.shipped import shipped_value
from stages.answers.rounds import round_folders, to_ask
from stages.answers.scheme import SCHEME, Change, names_ever, offered_now, read_scheme
from stages.contract.canonical import Row, read_json, read_jsonl
from stages.contract.errors import PipelineError
from stages.contract.params import MissingParamError, Params, load

SECTIONS_OF_THE_DATA = {
    "labels",
    "data",
    "features",
    "model",
}  # their values suit the data of one project alone


@dataclass(frozen=True)
class Round:
    """One issued round of a project."""

    number: int
    folder: Path

    @property
    def asked(self) -> Path:
        """The frozen batch as the annotator gets it, Prodigy's JSONL, in the order to ask."""
        return self.folder / "asked.jsonl"

    @property
    def answers(self) -> Path:
        """The folder of answer files."""
        return self.folder / "answers"

    @property
    def early(self) -> Path:
        """Where answers wait until the round's question is committed (`rounds.early`)."""
        return self.folder.parent.parent / ".early" / self.folder.name

    def answers_now(self) -> Path:
        """Where an answer is to be written now; it may change at the end of a `turn`."""
        return self.early if self.early.is_dir() else self.answers

    @property
    def corrections(self) -> Path:
        """The rows that change or take away labels of older rounds."""
        return self.folder / "corrections.jsonl"

    @property
    def closed_early(self) -> Path:
        """The note that a person closed the round with rows unanswered."""
        return self.folder / "closed.json"

    def manifest(self) -> Row:
        """batch_id, rows and the hashes of the frozen files."""
        manifest = read_json(self.folder / "manifest.json")
        assert isinstance(manifest, dict)
        return manifest

    def batch_id(self) -> str:
        """The identity of the batch that was asked."""
        return str(self.manifest()["batch_id"])

    def tasks(self) -> list[Row]:
        """The rows of asked.jsonl; one that was forgotten stands there without its content."""
        return read_jsonl(self.asked)

    def to_ask(self) -> list[Row]:
        """The tasks that people can be asked: `tasks` without those that were forgotten."""
        return to_ask(self.tasks())

    def answer_files(self) -> list[Path]:
        """Every answer file, sorted by name."""
        return sorted(self.answers.glob("*.jsonl"))


@dataclass(frozen=True)
class Project:
    """A labelling project: the folder that holds dvc.yaml, params.yaml, stages/ and data/."""

    root: Path

    @classmethod
    def find(cls, start: Path) -> Project:
        """The project that `start` lies in. Raises PipelineError when there is none."""
        for folder in (start.resolve(), *start.resolve().parents):
            if (folder / "dvc.yaml").is_file() and (folder / "stages" / "query.py").is_file():
                return cls(folder)
        raise PipelineError(
            start, "not inside a labelling project", "cd into one, or make one: `rounds init DIR`"
        )

    @property
    def rounds_folder(self) -> Path:
        """data/rounds."""
        return self.root / "data" / "rounds"

    def params(self) -> Params:
        """The project's checked params.

        Raises PipelineError; for a missing one, with the value to start with.
        """
        try:
            return load(self.root / "params.yaml")
        except MissingParamError as error:
            if error.name.partition(".")[0] in SECTIONS_OF_THE_DATA:
                raise
            key = error.name.rpartition(".")[2]
            value = json.dumps(shipped_value(error.name))
            remedy = f"add `{key}: {value}`, as a new project has it"
            raise PipelineError(error.where, error.what, remedy) from error

    def scheme(self) -> list[Change]:
        """How the labels changed, oldest first; empty where they never did."""
        return read_scheme(self.root / SCHEME)

    def labels_offered(self) -> list[str]:
        """The classes that the next batch asks for: params.labels without those that were split."""
        return offered_now(self.params().labels, self.scheme())

    def labels_ever(self) -> list[str]:
        """The classes of today, then all names that classes had: what answers may hold."""
        return names_ever(self.params().labels, self.scheme())

    def rounds(self) -> list[Round]:
        """Every issued round, oldest first. Raises PipelineError if one is missing in between."""
        return [Round(int(folder.name), folder) for folder in round_folders(self.rounds_folder)]

    def last_round(self) -> Round:
        """The newest issued round. Raises PipelineError when none was issued yet."""
        rounds = self.rounds()
        if not rounds:
            raise PipelineError(
                self.rounds_folder,
                "no batch was issued yet",
                "run `rounds close`, which issues one",
            )
        return rounds[-1]

    def open_round(self) -> Round:
        """The newest round, in which people may answer. Raises PipelineError when none is open.

        A batch that is not committed is not open: the next close may replace it, and its answers
        would be lost.
        """
        newest = self.last_round()
        if newest.closed_early.is_file():
            issues = "run `rounds close`, which issues the next (after a stop: with --continue)"
            remedy = f"{issues}, and do this again"
            raise PipelineError(
                newest.folder, f"round {newest.number} is closed, and no other is open", remedy
            )
        if not is_as_committed(self.root, newest.folder / "manifest.json"):
            question = f"the question of round {newest.number}"
            what = f"{question} is not committed yet, so nobody may answer it"
            raise PipelineError(
                newest.folder, what, "run `rounds close`, which commits it, and do this again"
            )
        return newest
