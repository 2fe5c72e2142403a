"""What commands print with --json: one document each, its schema named in its first field.

A schema's number grows when a field leaves or changes its meaning; new fields may come without
that. docs/reference/json.md is made of this module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import click
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from stages.contract.canonical import Row

Command = TypeVar("Command", bound=Callable[..., Any])
json_option: Callable[[Command], Command] = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document instead."
)


def schema_field(name: str) -> Any:
    """The first field of a document, `schema`, a word that pydantic keeps for itself."""
    both = AliasChoices("schema", "schema_")
    return Field(name, serialization_alias="schema", validation_alias=both)


class Part(BaseModel):
    """A part of a document."""

    model_config = ConfigDict(frozen=True)


class Alarm(Part):
    """An alarm or check that rings."""

    code: str = Field(description="V… or G…; docs/reference/checks.md lists them")
    title: str
    seen: str = Field(description="what was measured")
    do: str = Field(description="what to do about it")


class Arm(Part):
    """The accuracy of one arm's model at its newest point."""

    labels: int = Field(description="labels that the model learned from")
    accuracy: float
    low: float = Field(description="95 % interval of the accuracy")
    high: float


class Estimate(Part):
    """A figure with its interval that holds at all rounds together (95 %)."""

    value: float | None = Field(description="null: not yet known")
    low: float | None
    high: float | None
    labels: int | None = Field(description="labels at which both arms are compared")


class RoundState(Part):
    """The newest round."""

    number: int
    asked: int = Field(description="rows of its batch")
    answered: int


class Advice(Part):
    """What the stopping panel advises."""

    advice: str
    why: str


class Stopped(Part):
    """A person's decision to stop."""

    round: int
    why: str


class Status(Part):
    """`rounds status --json`: where the project stands, and what to type next."""

    schema_: Literal["labelrounds.status/1"] = schema_field("labelrounds.status/1")
    project: str = Field(description="name of the project's folder")
    round: RoundState | None = Field(description="null before the first batch")
    accepted: int | None = Field(description="labels that the model may learn from")
    doubted: int | None = Field(description="labels that are to be asked again")
    answers: int = Field(description="answers spent")
    budget: int | None = Field(description="answers in all; null: no limit")
    active: Arm | None
    random: Arm | None
    judged_on: str | None = Field(description="test set, or control arm, cross-validated")
    gap: Estimate | None = Field(description="accuracy, active minus random arm, at equal labels")
    saving: Estimate | None = Field(description="labels saved at equal accuracy")
    advice: Advice | None
    stopped: Stopped | None
    alarms: list[Alarm]
    notes: list[str] = Field(description="what changed under the answers, what was repaired")
    next: str = Field(description="the next command to type")


class Close(Part):
    """`rounds close --json`: the round that was closed, and the batch that follows."""

    schema_: Literal["labelrounds.close/1"] = schema_field("labelrounds.close/1")
    dry_run: bool
    subject: str = Field(description="the commit's subject line, or what would be done")
    committed: bool = Field(description="false: a dry run, or there was nothing to commit")
    commit: str | None = Field(description="full id of the commit that was made")
    rounds: int | None = Field(description="accepted rounds so far")
    open: RoundState | None = Field(description="the newest batch, null where there is none")
    alarms: list[Alarm]
    next: str


class BadRow(Part):
    """A row that cannot be used."""

    line: int
    why: str


class Collected(Part):
    """What one file, or a server, held."""

    name: str = Field(description="the file, or label-studio")
    counts: dict[str, int] = Field(description="rows by what they are")
    new: int = Field(description="answers that were added")
    late: int = Field(description="answers that came after their round was closed")
    bad: list[BadRow]


class Collect(Part):
    """`rounds collect --json`: what the files held, and how far the open round is."""

    schema_: Literal["labelrounds.collect/1"] = schema_field("labelrounds.collect/1")
    dry_run: bool
    sources: list[Collected]
    round: int
    missing: int = Field(description="rows of the open round without an answer")
    lines: list[str] = Field(description="the report that people read")
    next: str


class Inspect(Part):
    """`rounds inspect --json`: how good the labels of a table are."""

    schema_: Literal["labelrounds.inspect/1"] = schema_field("labelrounds.inspect/1")
    table: str
    rows: int
    classes: int
    judged: int = Field(description="labels that could be judged")
    flagged: int = Field(description="labels that are probably wrong")
    flagged_share: float
    estimated_error_rate: float | None
    features_do_not_tell: bool = Field(
        description="the numbers do not determine the class: it is an outcome"
    )
    conflicting_copies: int
    near_duplicates: int | None
    outliers: int | None
    order_p_value: float | None = Field(description="small: the order of the rows matters")
    rarest_count: int = Field(description="labels of the rarest class")
    alpha: float | None = Field(description="Krippendorff's alpha of several annotators")
    annotator_quality: dict[str, Any]
    worst: list[dict[str, Any]] = Field(description="the likeliest mistakes, the worst first")
    out: str | None = Field(description="the file with every label, ranked")
    self_test: list[dict[str, Any]] | None = Field(
        description="what --self-test finds of planted mistakes, for each kind of them"
    )


class Backtest(Part):
    """`rounds backtest --json`: which strategy to use. The rest stands in summary.json."""

    schema_: Literal["labelrounds.backtest/1"] = schema_field("labelrounds.backtest/1")
    use: str = Field(description="the strategy with the largest area under the curve")
    second: str | None
    said: str = Field(description="how sure that is, in a sentence")
    repeats: int
    target: float = Field(description="accuracy to reach")
    strategies: list[dict[str, Any]] = Field(description="as in summary.json")
    notes: list[str]
    out: str


class Question(Part):
    """A manager's question and its answer."""

    question: str
    answer: str


class Report(Part):
    """`rounds report --json`: what the report says, without its charts."""

    schema_: Literal["labelrounds.report/1"] = schema_field("labelrounds.report/1")
    project: str
    round: int
    summary: list[Question]
    alarms: list[Alarm]
    not_judged: str = Field(description="alarms that cannot be judged, and why; empty for none")
    verdict: list[str] = Field(description="what is proved, in sentences")
    out: str | None = Field(description="the HTML file; null with --md")


class Predict(Part):
    """`rounds predict --json`: how many rows were predicted, and how far to trust that."""

    schema_: Literal["labelrounds.predict/1"] = schema_field("labelrounds.predict/1")
    rows: int
    unlike: int = Field(description="rows that are unlike anything labelled")
    round: int = Field(description="round of the model")
    verdict: str = Field(description="of its confidence: trusted, lying or unknown")
    why: str
    out: str


class Finish(Part):
    """`rounds finish --json`: what the machine labels, and what proves it."""

    schema_: Literal["labelrounds.finish/1"] = schema_field("labelrounds.finish/1")
    dry_run: bool
    committed: bool = Field(description="false: a dry run, or this was committed already")
    error: float = Field(description="share of the machine's labels that may be wrong")
    confidence: float
    rest: int = Field(description="rows of the pool without a person's label")
    by_machine: int
    left: int = Field(description="rows that are left to people")
    control_labels: int = Field(description="control labels within the chosen share")
    control_wrong: int = Field(description="of these, those that the machine gets wrong")
    labels: str | None = Field(description="the file of labels; null after a dry run")
    questions: str | None = Field(description="the file of rows that are left to people")


class Failure(Part):
    """What any of these commands prints when it refuses; its exit code is 1."""

    schema_: Literal["labelrounds.error/1"] = schema_field("labelrounds.error/1")
    where: str = Field(description="file and line, param, or command")
    what: str = Field(description="what is wrong, what was expected")
    remedy: str = Field(description="what to do")


DOCUMENTS: tuple[type[Part], ...] = (
    Status, Collect, Close, Report, Predict, Finish, Inspect, Backtest, Failure,
)  # fmt: skip


def say(document: Part) -> None:
    """Print a document, on one line."""
    click.echo(document.model_dump_json(by_alias=True))


def alarms_of(*metrics: Row) -> list[Alarm]:
    """The alarms in metrics/*.json."""
    return [
        Alarm(**{name: alarm[name] for name in ("code", "title", "seen", "do")})
        for document in metrics
        for alarm in document.get("alarms", [])
    ]
