"""params.yaml as frozen, strictly checked values: one loader, one table of what may be set.

An unknown key is refused with the closest known one, a wrong type or range with file and line, and
so is a missing key: what a new project starts with stands in params.yaml alone. Its comments say
what each value means; the bounds are here. A key that came later has a default: what projects did
before it.
"""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from stages.contract.errors import PipelineError, closest

PARAMS = Path("params.yaml")
Fraction = Annotated[float, Field(ge=0, le=1)]
Options = dict[str, Any]
MISSING = "add it; params.yaml of a new project (`rounds init`) has the value to start with"
NO_TABLE = "data/none.csv"  # a path of params that names nothing
MACHINE_COLUMNS = 128  # of a machine's answers among the features
WORD_DIMS = 256  # numbers in a word vector


class MissingParamError(PipelineError):
    """A key that params.yaml has to hold and does not."""

    def __init__(self, where: object, name: str) -> None:
        self.name = name
        super().__init__(where, f"param {name!r} is missing", MISSING)

    def __reduce__(  # type: ignore[override]  # made anew from two words, its parent from three
        self,
    ) -> tuple[type[MissingParamError], tuple[str, str]]:
        return type(self), (self.where, self.name)


class Section(BaseModel):
    """A part of params.yaml: nothing unknown, no silent conversion, no change after loading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)


class Data(Section):
    """Where the examples are, and which columns mean what."""

    pool: str = Field(min_length=1)
    seed: str = Field(min_length=1)
    test: str = Field(min_length=1)
    id: str
    label: str = Field(min_length=1)
    text: str
    image: str
    images: str = Field(min_length=1)
    origin: dict[Literal["pool", "seed", "test", "data"], str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def dvc_can_track_the_pool(self) -> Data:
        """DVC knows no hf://, so such a pool is copied in."""
        if self.pool.startswith("hf://"):
            what = "data.pool is at hf://, which DVC cannot track in place"
            raise PipelineError("data.pool", what, "let `rounds init DIR --pool hf://...` copy it")
        return self


class TextFeatures(Section):
    """N-grams and directions of a text."""

    word_ngrams: tuple[int, int]
    char_ngrams: tuple[int, int]
    min_df: int = Field(ge=1)
    max_features: int = Field(ge=1)
    hashing: int | None = Field(ge=256, le=1 << 22)
    directions: float = Field(ge=0)
    # A project from before there were word vectors keeps the features that it has.
    words: Literal["none", "wordllama"] = "none"

    @model_validator(mode="before")
    @classmethod
    def lists_are_pairs(cls, value: Any) -> Any:
        """YAML has lists; a range of n-grams is a pair, [0, 0] meaning none of that kind."""
        if not isinstance(value, dict):
            return value
        pairs = {
            key: tuple(item)
            for key, item in value.items()
            if key.endswith("ngrams") and isinstance(item, list)
        }
        return {**value, **pairs}


class ImageFeatures(Section):
    """How pictures become numbers."""

    size: int = Field(ge=1, le=256)
    mode: Literal["L", "RGB"]


class Embedding(Section):
    """A model of language that is on this machine."""

    library: Literal["model2vec", "sentence-transformers"]
    model: str


class Import(Section):
    """Any class by import path, with its keyword arguments.

    Naming one runs its code: treat params.yaml as code.
    """

    path: str = Field(pattern=r"^[A-Za-z_][\w.]*\.[A-Za-z_]\w*$")
    params: Options


class Learner(Import):
    """The model, and which columns of its features are not the row's own numbers or n-grams.

    word_columns: the first so many are word vectors; machine_columns: the last so many are a
    machine's answers.
    """

    word_columns: int = 0
    machine_columns: int = 0


class Features(Section):
    """What the classifier sees."""

    kind: Literal["text", "embedding", "numeric", "image", "precomputed", "custom"]
    columns: list[str]
    text: TextFeatures
    embedding: Embedding
    image: ImageFeatures
    vectors: str = Field(min_length=1)
    custom: Import | None
    geometry_dims: int = Field(ge=2, le=256)

    @property
    def word_columns(self) -> int:
        """How many of the first columns that the classifier sees are word vectors."""
        has_words = self.kind == "text" and self.text.words != "none"
        return WORD_DIMS if has_words else 0


class Quality(Section):
    """How labels are cross-checked."""

    folds: int = Field(ge=2, le=20)
    min_class: int = Field(ge=2)
    near_duplicate: float = Field(gt=0, le=1)


class CleanSeed(Section):
    """How much of the seed may be doubted."""

    max_suspects: Fraction


class Limits(Section):
    """What the gate's coded checks allow."""

    answered: Fraction
    label_errors: Fraction
    agreement: float = Field(ge=-1, le=1)
    redundancy: Fraction
    leakage: Fraction
    coverage: Fraction
    annotator: Fraction
    drift: Fraction
    repeats: Fraction
    gold: Fraction = 0.8


CheckCode = Literal["G001", "G002", "G003", "G004", "G005", "G006", "G007", "G008", "G009", "G010"]


class Gate(Section):
    """Which labels are accepted, doubted, or asked again."""

    policy: Literal["budget", "threshold", "cleanlab"]
    review_cost: float = Field(gt=0)
    error_cost: float = Field(gt=0)
    max_quarantine: Fraction
    resolve: Literal["majority", "consensus"]
    adjudicator: str
    max_asks: int = Field(ge=2, le=10)
    repeat_fraction: Fraction
    gold_fraction: Fraction = 0.05
    on_fail: Literal["hold", "stop"]
    hold: list[CheckCode]
    limits: Limits

    @property
    def threshold(self) -> float:
        """The error probability above which a review costs less than the risk of a wrong label."""
        return min(self.review_cost / self.error_cost, 1.0)


class Calibrate(Section):
    """How scores become probabilities, and when they are believed."""

    method: Literal["none", "temperature", "sigmoid", "isotonic", "auto"]
    min_random_labels: int = Field(ge=10)
    bins: int = Field(ge=2, le=100)
    max_ece: Fraction


class Query(Section):
    """What is asked next."""

    strategy: str = Field(min_length=1)
    # A project from before there was a second rule keeps the batches that it has.
    auto: Literal[1, 2] = 1
    engine: Literal["modal", "skactiveml", "own"]
    params: Options
    class_weights: dict[str, Annotated[float, Field(ge=0)]] | Literal["auto"]
    recall_floor: Fraction
    committee: int = Field(ge=2, le=100)
    batch_size: int = Field(ge=1)
    control_fraction: Fraction
    review_fraction: Fraction
    budget: int | None = Field(ge=0)
    candidates: int | None = Field(ge=1000)
    skip_cooldown: int = Field(ge=0)

    @model_validator(mode="after")
    def shares_leave_room(self) -> Query:
        """Control and review together may not take the whole batch."""
        if self.control_fraction + self.review_fraction > 1:
            what = "control_fraction + review_fraction is above 1"
            raise PipelineError("query", what, "lower one of them")
        return self


class Validate(Section):
    """How the proof is made."""

    bootstrap: int = Field(ge=50)
    max_points: int = Field(ge=2)
    recall_floor: Fraction
    point_worth: float | None = Field(gt=0)
    judge_rows: int = Field(default=0, ge=0)


class Compute(Section):
    """Who computes, and where features of parts are kept."""

    backend: Literal["loky", "dask", "ray", "spark"]
    n_jobs: Literal[-1] | PositiveInt
    address: str
    store: str = Field(pattern=r"^$|^[a-z][a-z0-9+.-]*://.")


class Machines(Section):
    """What machine annotators may do: nothing, unless it is switched on here."""

    answer_cost: float | None = Field(default=None, gt=0)
    features: str = Field(default=NO_TABLE, min_length=1)
    cold_start: str = Field(default=NO_TABLE, min_length=1)
    witness: str = Field(default=NO_TABLE, min_length=1)

    @property
    def are_features(self) -> bool:
        """Whether the classifier sees a machine's answers."""
        return self.features != NO_TABLE

    @property
    def is_witness(self) -> bool:
        """Whether a machine may be a witness of the gate."""
        return self.witness != NO_TABLE


class Surface(Section):
    """What annotators see."""

    annotations_per_item: int = Field(ge=1)
    instructions: str
    people: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)


class Params(Section):
    """The whole of params.yaml."""

    seed: int = Field(ge=0)
    labels: list[str] = Field(min_length=2)
    data: Data
    features: Features
    model: Import
    quality: Quality
    clean_seed: CleanSeed
    gate: Gate
    calibrate: Calibrate
    query: Query
    validate_: Validate = Field(alias="validate")
    surface: Surface
    compute: Compute
    # A project from before there were machines has none.
    machines: Machines = Machines()

    @model_validator(mode="after")
    def labels_are_distinct(self) -> Params:
        """A class is named once and its name is not blank."""
        if len(set(self.labels)) != len(self.labels) or any(
            not label.strip() for label in self.labels
        ):
            raise PipelineError(
                "labels", "labels must be distinct and not blank", "repair the list"
            )
        return self

    @model_validator(mode="after")
    def some_class_has_weight(self) -> Params:
        """Weights of 0 alone would say nothing."""
        if not any(self.class_weights):
            what = "query.class_weights are 0 for every class"
            raise PipelineError("query", what, "give more to those you care about")
        return self

    @property
    def learner(self) -> Learner:
        """The model, with what fitting it has to know of the features."""
        return Learner(
            path=self.model.path,
            params=self.model.params,
            word_columns=self.features.word_columns,
            machine_columns=MACHINE_COLUMNS if self.machines.are_features else 0,
        )

    @property
    def reviews_a_batch(self) -> int:
        """How many doubted labels one batch asks again at most."""
        return int(self.query.review_fraction * self.query.batch_size + 1e-9)

    @property
    def class_weights(self) -> list[float]:
        """(k,) how much each class matters.

        It is 1 where query.class_weights does not say, or is auto.
        """
        chosen = self.query.class_weights
        weights = {} if chosen == "auto" else chosen
        return [weights.get(label, 1.0) for label in self.labels]


def read_yaml(path: Path) -> Any:
    """The document as DVC's own parser (YAML 1.2) reads it, with line numbers kept.

    Raises PipelineError for a file that cannot be read.
    """
    try:
        return YAML(typ="rt").load(StringIO(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise PipelineError(
            path, "file not found", "run this in a labelling project's root folder"
        ) from error
    except IsADirectoryError as error:
        raise PipelineError(path, "a folder, a file was expected", "name the file") from error
    except UnicodeDecodeError as error:
        raise PipelineError(path, "not UTF-8", "save the file as UTF-8") from error
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = str(error.problem).partition(" with value")[0]
        raise PipelineError(
            f"{path}:{line}", f"not valid YAML ({problem})", "repair the line"
        ) from error
    except YAMLError as error:
        raise PipelineError(path, f"not valid YAML ({error})", "repair the file") from error


def load(path: Path = PARAMS) -> Params:
    """The checked params. Raises PipelineError naming line, key and remedy for the first fault."""
    document = read_yaml(path)
    if not isinstance(document, dict):
        raise PipelineError(path, "a mapping of params was expected", "restore the file from git")
    try:
        return Params.model_validate(_plain(document))
    except ValidationError as error:
        raise _first_fault(path, document, error) from error


def _plain(node: Any) -> Any:
    """The round-trip nodes as the built-in types that strict validation expects."""
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    for builtin in (bool, int, float, str):
        if isinstance(node, builtin):
            return builtin(node)
    return node


def _first_fault(path: Path, document: Any, error: ValidationError) -> PipelineError:
    """The first fault of a validation, in one line.

    An unknown key is told before the one that is missing because of it.
    """
    faults = error.errors()
    fault = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
    keys = [str(key) for key in fault["loc"]]
    name = ".".join(keys)
    where = f"{path}:{_line(document, fault['loc'])}"
    if fault["type"] == "extra_forbidden":
        return PipelineError(
            where,
            f"unknown param {name!r}{closest(keys[-1], _accepted_keys(keys[:-1]))}",
            "correct the key",
        )
    if fault["type"] == "missing":
        return MissingParamError(where, name)
    if fault["type"] == "value_error":
        contradiction = fault["ctx"]["error"]  # a PipelineError of one of our validators
        return PipelineError(where, contradiction.what, contradiction.remedy)
    expected = fault["msg"].partition(" after validation")[0]
    what = f"{name}: {expected[0].lower()}{expected[1:]}, found {_plain(fault['input'])!r}"
    may_be_none = name in {"data.seed", "data.test", "data.images", "features.vectors"}
    for_none = "write data/none.csv (a table without rows) for none"
    return PipelineError(where, what, for_none if may_be_none else "correct the value")


def _accepted_keys(keys: list[str]) -> list[str]:
    """The keys that the section at `keys` accepts."""
    model: Any = Params
    for key in keys:
        field = next(
            (field for name, field in model.model_fields.items() if key in (name, field.alias)),
            None,
        )
        model = next((kind for kind in _models(field.annotation) if kind), None) if field else None
        if model is None:
            return []
    return [field.alias or name for name, field in model.model_fields.items()]


def _models(annotation: Any) -> list[Any]:
    """The Section classes that an annotation names."""
    options = [annotation, *getattr(annotation, "__args__", ())]
    return [kind for kind in options if isinstance(kind, type) and issubclass(kind, Section)]


def _line(document: Any, keys: tuple[int | str, ...]) -> int:
    """The line of the deepest key of `keys` that stands in the document."""
    line = 1
    node: Any = document
    for key in keys:
        try:
            line = (node.lc.key(key) if hasattr(node, "keys") else node.lc.item(key))[0] + 1
            node = node[key]
        except (KeyError, IndexError, AttributeError, TypeError):
            break
    return line
