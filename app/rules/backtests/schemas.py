"""Defines the request and response bodies of back-tests of rules."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.platform.http.contract.etags import ResourceModel
from app.platform.http.contract.fields import BoxId, Identifier, Instant, Name, RequestBody
from app.platform.http.contract.problems import CodedValueError
from app.rules.backtests.backtest_alerts import ALERTS_LIMIT, ComparedSide
from app.rules.backtests.backtest_run import WORK_LIMIT
from app.rules.backtests.index_backtest import INDEX_WORK_LIMIT
from app.rules.backtests.job_leases import RESULT_RETENTION_DAYS
from app.rules.backtests.models import Backtest
from app.rules.definitions.rule_examples import EXAMPLES
from app.rules.definitions.schemas import DryRun, RuleDefinition, Text
from app.rules.definitions.severity import Severity

MAX_RANGE: Final = timedelta(days=366)
BOXES_LIMIT: Final = 1_000
State = Literal["queued", "running", "done", "failed", "cancelled"]

ERRORS: Final = {
    "site_gone": "The site was deleted.",
    "too_much_work": f"The samples, times the parts of the conditions, are more than {WORK_LIMIT:,}. "
    f"Or the indices read more than {INDEX_WORK_LIMIT:,} values. "
    "Choose a shorter range, fewer boxes, or a rule with fewer parts.",
    "interrupted": "Vigie interrupted the back-test in every attempt. Choose a shorter range or fewer boxes.",
    "internal": "An internal error occurred. The log of Vigie has the cause.",
}
"""What each error code means, and what to do."""

_RULE: Final[dict[str, Any]] = EXAMPLES["threshold"]["value"]
_RANGE: Final = {"from": "2026-10-01T00:00:00Z", "to": "2026-11-01T00:00:00Z"}


class TrialRule(RuleDefinition):
    """The rule to try: a body of `POST /v1/rules` without `enabled`."""

    model_config = ConfigDict(json_schema_extra={"examples": [_RULE]})

    site_id: Annotated[Identifier | None, Field(description="Default: `site_id` beside the rule")] = None
    name: Name = "Back-test"
    description: Text = None
    dry_run: DryRun = False


class BacktestCreate(RequestBody):
    """The rule to try, and the samples to try it on."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"rule": _RULE, **_RANGE},
                {"rule_id": "0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11", "version": 2, **_RANGE},
            ]
        }
    )

    rule: Annotated[TrialRule | None, Field(description="A rule that need not be stored")] = None
    rule_id: Annotated[Identifier | None, Field(description="A stored rule, instead of `rule`")] = None
    version: Annotated[
        int | None,
        Field(
            ge=1,
            le=2**31 - 1,
            description="With `rule_id`: this version of the rule, compared with the present one",
        ),
    ] = None
    compare_to: Annotated[
        Identifier | None, Field(description="Also try the present version of this rule, and compare the two")
    ] = None
    site_id: Annotated[Identifier | None, Field(description="Default: the site of the rule")] = None
    boxes: Annotated[
        list[BoxId] | None,
        Field(
            min_length=1,
            max_length=BOXES_LIMIT,
            description="Only these boxes of the site. Default: all boxes in the scope of the rule",
        ),
    ] = None
    from_: Annotated[Instant, Field(alias="from", description="The beginning of the range")]
    to: Annotated[Instant, Field(description="The end of the range, excluded: at most 366 days after `from`")]

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if (self.rule is None) == (self.rule_id is None):
            raise CodedValueError("rule_or_rule_id", "Send either `rule` or `rule_id`")
        if self.version is not None and self.rule_id is None:
            raise CodedValueError("rule_or_rule_id", "`version` needs `rule_id`")
        return self

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.from_ >= self.to:
            raise CodedValueError("range_reversed", "`from` must be before `to`")
        if self.to - self.from_ > MAX_RANGE:
            raise CodedValueError(
                "range_too_large", f"The range is longer than {MAX_RANGE.days} days: choose a shorter one"
            )
        return self


class Progress(BaseModel):
    """The progress of a back-test."""

    samples: int = Field(description="Samples evaluated; for rules on indices, periods with a value")
    samples_total: int | None = Field(description="All samples in the range; null until they are counted")
    boxes: int = Field(description="Boxes done")
    boxes_total: int | None
    percent: float = Field(description="0 to 100")


class Summary(BaseModel):
    """The number and durations of the alerts of a rule."""

    alerts: int = Field(description="Number of alerts that there would have been")
    firing_s: float = Field(description="The total firing time of all alerts, in seconds")
    longest_s: float


class TrialSummary(Summary):
    """The alerts of the rule that was tried, and the work that the back-test did."""

    samples: int
    boxes: int
    elapsed_s: float
    samples_per_second: int


class MeasuredRange(BaseModel):
    """The values of a metric, or of an index, that a rule was tried on."""

    name: str = Field(description="The metric, or the method of the index")
    values: int = Field(description="Number of values")
    lowest: float = Field(description="The lowest value")
    highest: float = Field(description="The highest value")
    thresholds: list[float] = Field(
        description="The thresholds that its values are compared with; empty for indices, counts and rates"
    )


class BacktestCoverage(BaseModel):
    """The data that a back-test rests on. Without alerts and with a small share, it tells nothing."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "boxes": 5,
                    "boxes_with_values": 4,
                    "longest_s": 420.0,
                    "share": 0.00013,
                    "measured": [
                        {"name": "pm10", "values": 28, "lowest": 11.2, "highest": 41.6, "thresholds": [80.0]}
                    ],
                }
            ]
        }
    )

    boxes: int = Field(description="Boxes that the rule applies to")
    boxes_with_values: int = Field(description="Those that have values in the range")
    longest_s: float = Field(
        description="Time with values of the box that has most of it, in seconds. A value lasts until the "
        "next one, two sampling intervals at most"
    )
    share: float = Field(description="Share of the range with values, as the mean of all boxes: 0 to 1")
    measured: list[MeasuredRange] = Field(
        description="The lowest and the highest value of each metric or index that the rule compares"
    )


class TrialAlert(BaseModel):
    """An alert that the rule would have made."""

    box: str | None = Field(description="Null for a rule on a whole site")
    severity: Severity = Field(description="The highest severity that it reached")
    pending_since: datetime
    started_at: datetime
    resolved_at: datetime | None = Field(description="Null if it still fired at the end of the range")
    duration_s: float = Field(description="For an alert that still fired: up to the end of the range")
    value: float | None
    threshold: float | None
    metric: str | None
    found_in: ComparedSide | None = Field(
        description="`both` if the two rules made it (same box, overlapping times), else the rule that "
        "made it; null without a comparison"
    )


class Against(BaseModel):
    """The alerts of the rule that was compared with."""

    rule_id: UUID
    version: int
    summary: Summary
    alerts: list[TrialAlert] = Field(description="Alerts of the rule that it is compared with")
    truncated: int = Field(description="Alerts that are counted, but neither listed nor compared")
    both: int = Field(description="Listed alerts of the tried rule that both rules made")
    only_candidate: int = Field(description="Listed alerts that only the tried rule made")
    only_present: int = Field(description="Listed alerts that only the compared rule made")


class Result(BaseModel):
    """The result of a back-test."""

    summary: TrialSummary
    coverage: BacktestCoverage | None = Field(
        default=None, description="The data that it rests on; null for a rule on events alone"
    )
    alerts: list[TrialAlert] = Field(description=f"Box by box, in time order; at most {ALERTS_LIMIT:,}")
    truncated: int = Field(description="Alerts that are counted, but neither listed nor compared")
    against: Against | None


class BacktestOut(BaseModel):
    """A back-test of a rule on stored samples."""

    id: UUID
    organisation_id: UUID
    site_id: UUID
    rule_id: UUID | None = Field(description="Null for a rule that is not stored")
    version: int | None = Field(description="The version of the rule that was tested")
    name: str
    compare_to: UUID | None
    boxes: list[str] | None
    from_: datetime = Field(serialization_alias="from")
    to: datetime
    state: State
    error: str | None = Field(
        description="Why it failed: `site_gone`; `too_much_work`; `interrupted`, if no attempt finished; "
        "`internal`"
    )
    error_detail: str | None = Field(description="What the error means, and what to do")
    progress: Progress
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None = Field(description=f"It is deleted {RESULT_RETENTION_DAYS} days later")

    @classmethod
    def of(cls, row: Backtest) -> Self:
        """Convert a row."""
        return cls(**_fields(row))


class BacktestResult(BacktestOut, ResourceModel):
    """A back-test with its result."""

    result: Result | None = Field(description="Null until it is done")

    @classmethod
    def of(cls, row: Backtest) -> Self:
        """Convert a row that was loaded with its result."""
        return cls(**_fields(row), result=None if row.result is None else _result(row))


def _fields(row: Backtest) -> dict[str, Any]:
    same = (
        "id",
        "organisation_id",
        "site_id",
        "boxes",
        "state",
        "error",
        "created_at",
        "started_at",
        "finished_at",
    )
    rule = row.rule
    return {
        **{name: getattr(row, name) for name in same},
        "rule_id": rule["id"],
        "version": rule["version"],
        "name": rule["name"],
        "error_detail": None if row.error is None else ERRORS.get(row.error),
        "compare_to": None if row.against is None else row.against["id"],
        "from_": row.begins_at,
        "to": row.ends_at,
        "progress": Progress(
            samples=row.samples_done,
            samples_total=row.samples_total,
            boxes=row.boxes_done,
            boxes_total=row.boxes_total,
            percent=_percent(row),
        ),
    }


def _percent(row: Backtest) -> float:
    if row.state == "done":
        return 100.0
    if not row.samples_total:
        return 0.0
    # Samples may have arrived since they were counted.
    return min(99.9, round(100 * row.samples_done / row.samples_total, 1))


def _result(row: Backtest) -> Result:
    found = dict(row.result or {})
    if found["against"] is not None and row.against is not None:
        found["against"] = {
            "rule_id": row.against["id"],
            "version": row.against["version"],
            **found["against"],
        }
    return Result.model_validate(found)
