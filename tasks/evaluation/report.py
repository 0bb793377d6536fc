"""The morning report: one night as one HTML file that needs nothing else, neither network nor script.

`ReportData` is all it knows; any part may be missing (a night whose data was rejected has no scorecards) and the page
leaves that part out. Everything from data, models and people is escaped, and a content security policy forbids every
request. `tasks.evaluation.report_view` turns the data into what the template `report.html.j2` lays out.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tasks.data.page import render_page
from tasks.evaluation.scorecard import Role, Scorecard

Outcome = Literal["promoted", "rejected", "awaiting_approval", "data_rejected", "nothing_new", "failed", "scored"]


class _Part(BaseModel):
    # Parts come from the other steps' documents, which may hold more keys than the report shows.
    model_config = ConfigDict(frozen=True, extra="ignore")


class StageLine(_Part):
    """One stage of the curriculum."""

    name: str
    method: str = ""
    rows: int | None = None
    steps: int | None = None
    seconds: float | None = None
    reused: bool = Field(False, description="taken from an earlier run of the same night")
    curve: list[tuple[float, float | None]] = Field(default_factory=list, description="(step within the stage, loss)")
    eval_loss: float | None = None
    dropped: int = Field(0, description="rows too long to train on")
    tables_dropped: int = Field(0, description="tables that prompts left out to stay within their budget")


class GateLine(_Part):
    """One gate's outcome, as `registry.gates` gives it."""

    id: str = ""
    metric: str
    slice: dict[str, str] | str | None = None
    rule: str = ""
    value: float | str | None = None
    threshold: float | str | None = None
    status: Literal["pass", "fail", "needs_approval"]
    evidence: str = ""
    resolution: str = ""


class DataAccount(_Part):
    """Where every row went."""

    counts: dict[str, int] = Field(default_factory=dict, description="rows in, kept, quarantined, duplicate, ...")
    reasons: dict[str, int] = Field(default_factory=dict, description="quarantine reason -> rows")
    splits: dict[str, int] = Field(default_factory=dict, description="train, validation, test -> examples")
    docs: str = Field("", description="path or address of the Data Docs")


class NightPoint(_Part):
    """What one night's version scored: a point of the learning curve across nights."""

    version: str
    created: str = Field(description="when, as ISO 8601")
    measured: str = Field(description="test split and rules; points with the same text can be compared")
    value: float = Field(description="execution accuracy, a share of 1, with its 95% interval over n examples")
    low: float
    high: float
    n: int
    promoted: bool = Field(False, description="whether it ever was in Production")


class ReportData(BaseModel):
    """Everything the report shows of one night, or of one scorecard alone (outcome `scored`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcome: Outcome
    night: str = Field("", description="the night's key")
    recipe: str = ""
    release: str = Field("", description="registered model name")
    version: str | None = Field(None, description="tonight's version, if one was registered")
    champion_version: str | None = Field(None, description="the version in Production when the night decided")
    created: str = Field("", description="when, as ISO 8601")
    base_model: str = Field("", description="model reference the curriculum started from")
    reason: str = Field("", description="one line on why the night ended so, where no gate says it")
    stages: list[StageLine] = Field(default_factory=list)
    scorecards: dict[Role, Scorecard] = Field(default_factory=dict)
    gates: list[GateLine] = Field(default_factory=list)
    nights: list[NightPoint] = Field(default_factory=list, description="this release's nights, oldest first")
    data: DataAccount = Field(default_factory=DataAccount)
    seconds: dict[str, float] = Field(default_factory=dict, description="step -> seconds; `total` among them")
    lineage: dict[str, Any] = Field(default_factory=dict, description="name -> fingerprint, version or reference")
    commands: list[str] = Field(default_factory=list, description="what a person may run next")


def render_report(data: ReportData) -> str:
    """The report as one HTML document."""
    from tasks.evaluation.report_view import view

    return render_page("tasks.evaluation", "report.html.j2", view(data))
