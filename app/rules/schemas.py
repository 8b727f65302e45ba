"""The shapes of rules on the wire. Shapes only: what a condition means is the evaluator's business."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from app.core.fields import Body, Identifier, Name, TenantId, absent
from app.core.instants import parse_iso_duration
from app.core.problems import CodedValueError
from app.core.reasons import RejectedError, shown
from app.rules.evaluator import UPWARD
from app.rules.models import Rule
from app.sites.catalogue import BY_NAME

Severity = Literal["info", "warning", "critical"]
Operator = Literal[">", ">=", "<", "<="]

_CONDITION: Final[JsonDict] = {
    "metric": "pm2_5",
    "operator": ">",
    "threshold": 25,
    "clear": 20,
    "for": "PT10M",
}
_SITE: Final = "0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11"


def _metric(value: str) -> str:
    if value not in BY_NAME:
        raise CodedValueError("unknown_metric", f"{shown(value)} is not in the catalogue (GET /v1/metrics)")
    return value


def _duration(value: str) -> str:
    try:
        parse_iso_duration(value)
    except RejectedError as error:
        raise CodedValueError(error.code, error.detail) from None
    return value


Number = Annotated[float, Field(allow_inf_nan=False)]


class Condition(Body):
    """When a rule fires, and when it resolves. Waiting is in measurement time: the samples' own."""

    model_config = ConfigDict(
        serialize_by_alias=True,
        json_schema_extra={
            "examples": [_CONDITION, {"metric": "temperature", "operator": "<", "threshold": 3, "clear": 5}]
        },
    )

    metric: Annotated[
        str,
        AfterValidator(_metric),
        Field(description="A metric of `GET /v1/metrics`", json_schema_extra={"enum": sorted(BY_NAME)}),
    ]
    operator: Annotated[
        Operator, Field(description="A sample is *above* where `value operator threshold` holds")
    ]
    threshold: Annotated[Number, Field(description="In the metric's unit")]
    clear: Annotated[
        Number | None,
        Field(
            description="A firing rule resolves at the first sample at or below this (`>`, `>=`), or at or "
            "above it (`<`, `<=`). Left out: the threshold, where a value that would fire does not resolve"
        ),
    ] = None
    for_: Annotated[
        str,
        AfterValidator(_duration),
        Field(
            alias="for",
            description="How long samples must be above before the rule fires: ISO 8601, at most 366 days",
            examples=["PT10M"],
        ),
    ] = "PT0S"

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.clear is None:
            # A null that was sent means the same as no `clear`.
            self.clear = self.threshold
        upward = self.operator in UPWARD
        if self.clear > self.threshold if upward else self.clear < self.threshold:
            side = "below" if upward else "above"
            raise CodedValueError(
                "invalid_clear",
                f"With `{self.operator}`, `clear` is the threshold or {side} it: else it would resolve "
                "at once and fire again",
            )
        return self

    def stored(self) -> dict[str, Any]:
        """The condition as it is stored: complete."""
        return self.model_dump(by_alias=True)


class RuleCreate(Body):
    """A rule to be."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "site_id": _SITE,
                    "name": "Fine particles above the guideline",
                    "severity": "warning",
                    "condition": _CONDITION,
                }
            ]
        }
    )

    organisation_id: TenantId = None
    site_id: Annotated[Identifier, Field(description="The rule applies to every box of this site")]
    name: Name
    severity: Severity
    condition: Condition
    enabled: bool = True


class RuleChange(Body):
    """What may change of a rule. A condition is replaced as a whole."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "Fine particles", "severity": "critical"}, {"enabled": False}]
        }
    )

    name: Name = absent()
    severity: Severity = absent()
    condition: Condition = absent()
    enabled: bool = absent()


class RuleOut(BaseModel):
    """A threshold on a metric of every box of a site."""

    id: UUID
    organisation_id: UUID
    site_id: UUID
    name: str
    severity: Severity
    condition: Condition
    enabled: bool
    version: int = Field(description="Counts up with each change; alerts name the one they fired under")
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Rule) -> Self:
        """The shape of a row."""
        return cls(
            id=row.id,
            organisation_id=row.organisation_id,
            site_id=row.site_id,
            name=row.name,
            severity=row.severity,
            condition=Condition.model_validate(row.condition),
            enabled=row.enabled,
            version=row.version,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )
