"""Defines the JSON of corrections to measured values: gain and offset, or humidity."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from app.catalogue.metrics import METRICS_BY_NAME
from app.platform.http.contract.etags import ResourceModel
from app.platform.http.contract.fields import Description, Instant, RequestBody
from app.platform.http.contract.problems import CodedValueError
from app.timeseries.quality.correction_arithmetic import OPTICAL_METRICS
from app.timeseries.quality.models import Correction

type CorrectionKind = Literal["linear", "humidity"]
_MOST: Final = 1_000_000.0
_PARAMETERS: Final = {"linear": frozenset({"gain", "offset"}), "humidity": frozenset({"kappa"})}
_UNTIL: Final = "End, exclusive, by measurement time; null: no end"


def _known(value: str) -> str:
    if value not in METRICS_BY_NAME:
        raise CodedValueError("unknown_metric", "The metric is not in the catalogue: see GET /v1/metrics")
    return value


Measured = Annotated[
    str,
    AfterValidator(_known),
    Field(description="A metric of `GET /v1/metrics`", json_schema_extra={"enum": sorted(METRICS_BY_NAME)}),
]


class CorrectionCreate(RequestBody):
    """A new correction."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "metric": "pm2_5",
                    "kind": "linear",
                    "gain": 0.82,
                    "offset": -1.4,
                    "valid_from": "2026-03-01T00:00:00Z",
                    "note": "Beside the station of rue Pargaminières, February 2026",
                },
                {
                    "metric": "pm2_5",
                    "kind": "humidity",
                    "kappa": 0.4,
                    "valid_from": "2026-03-01T00:00:00Z",
                },
            ]
        }
    )

    metric: Measured
    kind: CorrectionKind = Field(
        description="`linear`: gain · value + offset; `humidity`: for particulate matter, by κ-Köhler theory"
    )
    gain: float | None = Field(
        None, gt=0, le=1_000, description="For `linear`; 1 by default", examples=[0.82]
    )
    offset: float | None = Field(
        None, ge=-_MOST, le=_MOST, description="For `linear`, in the metric's unit; 0 by default"
    )
    kappa: float | None = Field(
        None,
        gt=0,
        le=2,
        description="For `humidity`: hygroscopicity of the particles, mostly 0.1 to 0.9",
        examples=[0.4],
    )
    valid_from: Instant = Field(description="Start, inclusive, by measurement time")
    valid_until: Instant | None = Field(None, description=_UNTIL)
    note: Description | None = Field(None, description="Origin of the correction, for people")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        own = _PARAMETERS[self.kind]
        others = {name for names in _PARAMETERS.values() for name in names} - own
        if any(getattr(self, name) is not None for name in others):
            raise CodedValueError(
                "invalid_value", f"A correction of this kind takes {' and '.join(sorted(own))}"
            )
        if all(getattr(self, name) is None for name in own):
            raise CodedValueError("missing_field", f"Give {' or '.join(sorted(own))}")
        if self.kind == "humidity" and self.metric not in OPTICAL_METRICS:
            raise CodedValueError(
                "invalid_value", f"Humidity corrections apply to {', '.join(sorted(OPTICAL_METRICS))} only"
            )
        return self

    def parameters(self) -> dict[str, float]:
        """Return all parameters of the formula."""
        if self.kind == "linear":
            return {
                "gain": 1.0 if self.gain is None else float(self.gain),
                "offset": float(self.offset or 0.0),
            }
        return {"kappa": float(self.kappa or 0.0)}


class CorrectionChange(RequestBody):
    """The changes to a correction: its end and its note."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"valid_until": "2030-03-01T00:00:00Z"}]})

    valid_until: Instant | None = Field(None, description=_UNTIL)
    note: Description | None = Field(None, description="Origin of the correction, for people")


class CorrectionUsed(BaseModel):
    """A correction that was applied to the values of a response."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11",
                    "kind": "linear",
                    "gain": 0.82,
                    "offset": -1.4,
                    "valid_from": "2026-03-01T00:00:00Z",
                    "valid_until": None,
                }
            ]
        }
    )

    id: UUID
    kind: CorrectionKind
    gain: float | None = Field(None, description="For `linear`", examples=[0.82])
    offset: float | None = Field(None, description="For `linear`, in the metric's unit", examples=[-1.4])
    kappa: float | None = Field(None, description="For `humidity`", examples=[0.4])
    valid_from: datetime = Field(description="Start, inclusive, by measurement time")
    valid_until: datetime | None = Field(description=_UNTIL)


class CorrectionOut(ResourceModel):
    """A correction of a box's values of a metric for a period. Measured values never change."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11",
                    "box": "box-0001",
                    "metric": "pm2_5",
                    "kind": "linear",
                    "gain": 0.82,
                    "offset": -1.4,
                    "kappa": None,
                    "valid_from": "2026-03-01T00:00:00Z",
                    "valid_until": None,
                    "note": "Beside the station of rue Pargaminières, February 2026",
                    "created_at": "2026-03-02T09:00:00Z",
                    "updated_at": "2026-03-02T09:00:00Z",
                }
            ]
        }
    )

    id: UUID
    box: str = Field(examples=["box-0001"])
    metric: str = Field(examples=["pm2_5"])
    kind: CorrectionKind
    gain: float | None = Field(description="For `linear`", examples=[0.82])
    offset: float | None = Field(description="For `linear`, in the metric's unit", examples=[-1.4])
    kappa: float | None = Field(description="For `humidity`", examples=[0.4])
    valid_from: datetime = Field(description="Start, inclusive, by measurement time")
    valid_until: datetime | None = Field(description=_UNTIL)
    note: str | None = Field(description="Origin of the correction, for people")
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: Correction, box: str) -> "CorrectionOut":
        """Convert a row."""
        names = ("id", "metric", "kind", "valid_from", "valid_until", "note", "created_at", "updated_at")
        shown: dict[str, Any] = {name: getattr(row, name) for name in names}
        numbers: dict[str, Any] = {name: row.parameters.get(name) for name in ("gain", "offset", "kappa")}
        return cls(box=box, **shown, **numbers)
