"""Defines the JSON of scheduled reports and of their mails."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.notifications.email.allowed_recipients import MAX_RECIPIENTS
from app.platform.http.contract.etags import ResourceModel
from app.platform.http.contract.fields import Identifier, RequestBody, make_omittable_field
from app.reports.models import ReportRun, ReportSchedule
from app.reports.report_input import ReportLanguage, ReportLength

type ScheduledFormat = Literal["pdf", "csv"]
type RunState = Literal["pending", "sent", "failed"]

_SITE: Final = "0199d1c5-7a3e-7c54-9d1e-5b6f0a2c8e11"
_TO: Final[list[Any]] = ["mairie@example.com", "qualite-air@example.org"]
_EXAMPLE: Final[dict[str, Any]] = {
    "site_id": _SITE,
    "report": "month",
    "hour": 8,
    "recipients": _TO,
    "formats": ["pdf", "csv"],
    "language": "fr",
}


def _make_default_formats() -> list[ScheduledFormat]:
    return ["pdf"]


def _each_once(formats: Sequence[ScheduledFormat]) -> list[ScheduledFormat]:
    return list(dict.fromkeys(formats))


Report = Annotated[
    ReportLength,
    Field(
        description="The reported period: `day` is mailed each day for the day before, `week` on Mondays for "
        "the week before, `month` on the first day of a month for the month before"
    ),
]
Hour = Annotated[
    int,
    Field(ge=0, le=23, description="The local hour at the site at which the mail is due", examples=[8]),
]
Recipients = Annotated[
    list[str],
    Field(
        max_length=MAX_RECIPIENTS,
        description=f"1 to {MAX_RECIPIENTS} e-mail addresses, of members or others. Each recipient sees all",
        examples=[_TO],
    ),
]
Formats = Annotated[
    list[ScheduledFormat],
    Field(
        min_length=1,
        max_length=2,
        description="The attachments: the report as PDF, its measurements as CSV",
        examples=[["pdf"]],
    ),
    AfterValidator(_each_once),
]
Language = Annotated[ReportLanguage, Field(description="The language of the mail and of the PDF")]
Enabled = Annotated[bool, Field(description="False: no mails are due, until it is true again")]


class ReportScheduleCreate(RequestBody):
    """A new schedule."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    site_id: Identifier
    report: Report
    hour: Hour = 8
    recipients: Recipients
    formats: Formats = Field(default_factory=_make_default_formats)
    language: Language = "en"
    enabled: Enabled = True


class ReportScheduleChange(RequestBody):
    """Changes of a schedule."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"hour": 7, "recipients": _TO}]})

    report: Report = make_omittable_field()
    hour: Hour = make_omittable_field()
    recipients: Recipients = make_omittable_field()
    formats: Formats = make_omittable_field()
    language: Language = make_omittable_field()
    enabled: Enabled = make_omittable_field()


class ReportScheduleOut(ResourceModel):
    """Mails the report of a site after each day, week or month."""

    volatile = frozenset({"next_at", "last_sent_at", "last_error"})

    id: UUID
    organisation_id: UUID
    site_id: UUID
    report: Report
    hour: Hour
    recipients: list[str] = Field(description="The e-mail addresses", examples=[_TO])
    formats: list[ScheduledFormat] = Field(description="The files of each mail", examples=[["pdf"]])
    language: Language
    alerts: bool = Field(
        description="Whether reports have the part on alerts: the creator of the schedule could read alerts"
    )
    enabled: Enabled
    next_at: datetime | None = Field(description="When the next mail is due; null if it is not enabled")
    last_sent_at: datetime | None = Field(description="When a mail was last sent; null if none was")
    last_error: str | None = Field(
        description="Why the newest attempt failed, as a code; null after a success. Each mail is listed at "
        "`GET /v1/report-schedules/{schedule_id}/runs`",
        examples=[None],
    )
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: ReportSchedule) -> Self:
        """Make the JSON of a row."""
        shown = {name: getattr(row, name) for name in cls.model_fields}
        return cls(**shown | {"next_at": row.next_at if row.enabled else None})


class ReportRunOut(BaseModel):
    """One mail of a schedule."""

    id: UUID
    schedule_id: UUID = Field(description="The schedule")
    report: ReportLength = Field(description="The length of the period")
    first_day: date = Field(description="The first local day of the reported period")
    last_day: date = Field(description="The last one")
    requested: bool = Field(
        description="Whether a person requested it with `POST …/send`. Of the others there is one for each "
        "period"
    )
    state: RunState = Field(
        description="`pending`: it is due, being sent, or waits for its next attempt. `failed`: given up"
    )
    attempts: int = Field(description="The number of attempts so far", examples=[1])
    due_at: datetime | None = Field(
        description="When the next attempt is due, or until when the running one may last; null if none "
        "follows"
    )
    error: str | None = Field(
        description="Why the newest attempt failed: `report_not_made`, `site_not_found`, `too_many_boxes`, "
        "`mail_too_large`, or a reason of deliveries, such as `mail_refused`",
        examples=["mail_deferred"],
    )
    status: int | None = Field(description="The mail server's reply code", examples=[451])
    answer: str | None = Field(
        description="The mail server's response, which names refused recipients",
        examples=["451 4.7.1 Try again later"],
    )
    created_at: datetime = Field(description="When it became due, or was requested")
    sent_at: datetime | None = Field(description="When the mail server accepted it; null if it did not")

    @classmethod
    def of(cls, row: ReportRun) -> Self:
        """Make the JSON of a row."""
        return cls(**{name: getattr(row, name) for name in cls.model_fields})
