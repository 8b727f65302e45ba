"""The shapes of back-tests on the wire."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.platform.http.contract.etags import ResourceModel
from app.platform.http.contract.fields import BoxId, Identifier, Instant, Name, RequestBody
from app.platform.http.contract.problems import CodedValueError
from app.rules.backtests.backtest_alerts import ALERTS_LIMIT, ComparedSide
from app.rules.backtests.backtest_run import WORK_LIMIT
from app.rules.backtests.indicator_backtest import INDEX_WORK_LIMIT
from app.rules.backtests.job_leases import KEPT_DAYS
from app.rules.backtests.models import Backtest
from app.rules.definitions.rule_examples import EXAMPLES
from app.rules.definitions.schemas import DryRun, RuleDefinition, Text
from app.rules.definitions.severity import Severity

MAX_RANGE: Final = timedelta(days=366)
BOXES_LIMIT: Final = 1_000
State = Literal["queued", "running", "done", "failed", "cancelled"]

ERRORS: Final = {
    "site_gone": "The site was deleted.",
    "too_much_work": f"Its samples, times the parts of its conditions, are more than {WORK_LIMIT:,}. "
    f"Or its indices look at more than {INDEX_WORK_LIMIT:,} values. "
    "Ask for a shorter range or fewer boxes, or for a rule with fewer parts.",
    "interrupted": "Whoever worked on it was interrupted, again and again. Ask for a smaller one.",
    "internal": "The log has the cause.",
}
"""What the codes of errors mean."""

_RULE: Final[dict[str, Any]] = EXAMPLES["threshold"]["value"]
_RANGE: Final = {"from": "2026-10-01T00:00:00Z", "to": "2026-11-01T00:00:00Z"}


class TrialRule(RuleDefinition):
    """A rule that is tried: as `POST /v1/rules` takes it, without `enabled`."""

    model_config = ConfigDict(json_schema_extra={"examples": [_RULE]})

    site_id: Annotated[Identifier | None, Field(description="Left out: `site_id` beside the rule")] = None
    name: Name = "Back-test"
    description: Text = None
    dry_run: DryRun = False


class BacktestCreate(RequestBody):
    """What to try, and on which samples."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"rule": _RULE, **_RANGE},
                {"rule_id": "0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11", "version": 2, **_RANGE},
            ]
        }
    )

    rule: Annotated[TrialRule | None, Field(description="A rule that need not exist")] = None
    rule_id: Annotated[Identifier | None, Field(description="A rule that exists, in place of `rule`")] = None
    version: Annotated[
        int | None,
        Field(
            ge=1,
            le=2**31 - 1,
            description="With `rule_id`: the rule as it was then, compared with what it is now",
        ),
    ] = None
    compare_to: Annotated[
        Identifier | None, Field(description="Try this rule as well, as it is now, and compare the two")
    ] = None
    site_id: Annotated[Identifier | None, Field(description="Left out: the rule's site")] = None
    boxes: Annotated[
        list[BoxId] | None,
        Field(
            min_length=1,
            max_length=BOXES_LIMIT,
            description="Only these boxes of the site. Left out: all that the rule is for",
        ),
    ] = None
    from_: Annotated[Instant, Field(alias="from", description="Samples from this time on")]
    to: Annotated[Instant, Field(description="Samples before this time: at most 366 days later")]

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if (self.rule is None) == (self.rule_id is None):
            raise CodedValueError("rule_or_rule_id", "Give `rule` or `rule_id`: one of the two")
        if self.version is not None and self.rule_id is None:
            raise CodedValueError("rule_or_rule_id", "`version` goes with `rule_id`")
        return self

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.from_ >= self.to:
            raise CodedValueError("range_reversed", "`from` must be before `to`")
        if self.to - self.from_ > MAX_RANGE:
            raise CodedValueError("range_too_large", f"At most {MAX_RANGE.days} days are tried at a time")
        return self


class Progress(BaseModel):
    """How far a back-test is."""

    samples: int = Field(description="Samples that were tried; of rules on indices periods with a value")
    samples_total: int | None = Field(description="Of so many; null until they are counted")
    boxes: int = Field(description="Boxes that are done")
    boxes_total: int | None
    percent: float = Field(description="0 to 100")


class Summary(BaseModel):
    """What a rule would have done."""

    alerts: int
    firing_s: float = Field(description="How long they fired together, in seconds")
    longest_s: float


class TrialSummary(Summary):
    """What the rule that was tried would have done, and how the trial went."""

    samples: int
    boxes: int
    elapsed_s: float
    samples_per_second: int


class TrialAlert(BaseModel):
    """An alert that would have been."""

    box: str | None = Field(description="Null where the rule is on the site as a whole")
    severity: Severity = Field(description="The highest that it had")
    pending_since: datetime
    started_at: datetime
    resolved_at: datetime | None = Field(description="Null where it fired still at the end")
    duration_s: float = Field(description="Of one that fired still: up to the end")
    value: float | None
    threshold: float | None
    metric: str | None
    found_in: ComparedSide | None = Field(
        description="Whether both rules made it (on the same box, at overlapping times), or which one "
        "did; null where nothing was compared"
    )


class Against(BaseModel):
    """What the rule would have done that was compared."""

    rule_id: UUID
    version: int
    summary: Summary
    alerts: list[TrialAlert]
    truncated: int = Field(description="Alerts that are counted, and neither listed nor compared")
    both: int = Field(description="Of the listed alerts of the rule that was tried: those of both")
    only_candidate: int = Field(description="Of the same: those of it alone")
    only_present: int = Field(description="Listed alerts of the other rule alone")


class Result(BaseModel):
    """What came of a back-test."""

    summary: TrialSummary
    alerts: list[TrialAlert] = Field(description=f"Box by box, in their order; at most {ALERTS_LIMIT:,}")
    truncated: int = Field(description="Alerts that are counted, and neither listed nor compared")
    against: Against | None


class BacktestOut(BaseModel):
    """A rule that is tried on stored samples."""

    id: UUID
    organisation_id: UUID
    site_id: UUID
    rule_id: UUID | None = Field(description="Null for a rule that does not exist")
    version: int | None
    name: str
    compare_to: UUID | None
    boxes: list[str] | None
    from_: datetime = Field(serialization_alias="from")
    to: datetime
    state: State
    error: str | None = Field(
        description="Why it failed: `site_gone`; `too_much_work`; `interrupted`, where nobody finished it; "
        "`internal`"
    )
    error_detail: str | None = Field(description="What that means, and what to do")
    progress: Progress
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None = Field(description=f"It is kept for {KEPT_DAYS} days from then on")

    @classmethod
    def of(cls, row: Backtest) -> Self:
        """The shape of a row."""
        return cls(**_fields(row))


class BacktestResult(BacktestOut, ResourceModel):
    """A back-test, with what came of it."""

    result: Result | None = Field(description="Null until it is done")

    @classmethod
    def of(cls, row: Backtest) -> Self:
        """The shape of a row that was read with its result."""
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
    # Samples may have come since they were counted.
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
