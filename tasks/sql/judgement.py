"""What is judged and what comes of it: `Job` in, `Judgement` out, both plain data that travels as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tasks.sql.comparison import Row
from tasks.sql.guard import Status
from tasks.sql.limits import DEFAULT_LIMITS, Limits

GoldStatus = Literal["ok", "empty", "failed"]
PREVIEW_ROWS = 5
_PREVIEW_TEXT = 200


@dataclass(frozen=True, slots=True)
class Job:
    """One prediction to judge against its gold.

    `prediction` is run as it is: put a model's answer through `extract_sql` first, or do not, to score it raw. The
    database is the file `database`, or `schema` and `setup` built in memory. Gold of another `dialect` that does not
    run on SQLite is transpiled, and the prediction with it.
    """

    id: str
    gold: str
    prediction: str
    schema: str = ""
    setup: str = ""
    database: str | None = None
    dialect: str = "sqlite"

    @property
    def place(self) -> tuple[str | None, str, str, str]:
        """Jobs with the same place share their database."""
        return (self.database, self.schema, self.setup, self.dialect)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on one job.

    `execution_match` is None where gold failed: nothing can be said, and it is no fault of the prediction. `vacuous`
    marks an agreement that proves little: both empty, both a single 0 or NULL, or a gold that changes nothing.
    `sql` and `gold_sql` are what ran, on `engine`; `transpiled` says that sqlglot rewrote them for it. `status` and
    `message` are the prediction's. Previews hold at most five rows. `compatible` has the verdicts of other evaluators,
    by name. `suite_match` says whether a match held on further databases too, of which `suite_databases` were tried;
    where it did not, `execution_match` is False as well.
    """

    id: str
    sql: str
    gold_sql: str
    status: Status
    gold_status: GoldStatus
    execution_match: bool | None
    vacuous: bool
    parses: bool
    prepares: bool
    runs: bool
    message: str = ""
    seconds: float = 0.0
    columns: list[str] = field(default_factory=list)
    rows: list[list[Any]] = field(default_factory=list)
    gold_columns: list[str] = field(default_factory=list)
    gold_rows: list[list[Any]] = field(default_factory=list)
    gold_message: str = ""
    engine: str = "sqlite"
    transpiled: bool = False
    compatible: dict[str, float] = field(default_factory=dict)
    suite_databases: int = 0
    suite_match: bool | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """How a session judges, beside the rules: what one statement may use, and what else is asked of every job.

    `compatibility` judges as the Spider and BIRD evaluators do, too; `suite` is the number of further databases a right
    query must be right on.
    """

    limits: Limits = DEFAULT_LIMITS
    compatibility: bool = False
    suite: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.suite <= 100:
            raise ValueError(f"suite: {self.suite} further databases; between 0 and 100 can be asked for")

    def to_line(self) -> bytes:
        """As a line of JSON, the first one a worker is given."""
        return json.dumps(asdict(self)).encode("ascii") + b"\n"

    @classmethod
    def from_line(cls, line: str) -> Settings:
        """The settings that `to_line` wrote."""
        fields = json.loads(line)
        return cls(Limits(**fields.pop("limits")), **fields)


def to_row(value: Job | Judgement) -> dict[str, Any]:
    """The fields of a job or judgement as a JSON object (`dataclasses.asdict` copies deeply, ten times slower)."""
    return {name: getattr(value, name) for name in value.__slots__}


def preview(rows: list[Row]) -> list[list[Any]]:
    """The first rows with every value fit for JSON in UTF-8: blobs as hex, long and undecodable text made safe."""
    return [[value if _is_plain(value) else _safe(value) for value in row] for row in rows[:PREVIEW_ROWS]]


def _is_plain(value: Any) -> bool:
    """What most values are, told fast."""
    kind = value.__class__
    return kind is int or (kind is str and value.isascii() and len(value) <= _PREVIEW_TEXT)


def _safe(value: Any) -> Any:
    if isinstance(value, str):
        return safe_text(value[:_PREVIEW_TEXT])
    if isinstance(value, bytes):
        return value[: _PREVIEW_TEXT // 2].hex()
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return str(value)
    return value


def safe_text(value: str) -> str:
    """`value` with what cannot be written as UTF-8 replaced by question marks."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
