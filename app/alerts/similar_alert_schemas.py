"""Defines the JSON of similar alerts, and of the statistics on them."""

from datetime import datetime
from typing import Final

from pydantic import BaseModel, Field

from app.alerts.schemas import EXAMPLE_COMMENT, AlertOut
from app.alerts.similar_alert_queries import LONG_DAYS, SHORT_DAYS, Similarity
from app.platform.http.contract.pagination import Page

_PERIOD: Final = f"in the {LONG_DAYS} days before the alert"


class LastComment(BaseModel):
    """The last comment on an alert."""

    text: str = Field(description="The comment", examples=[EXAMPLE_COMMENT])
    actor: str | None = Field(
        description="Name of the API key or the person that wrote it", examples=["Night shift"]
    )
    at: datetime = Field(description="When it was written")


class SimilarAlertOut(AlertOut):
    """An earlier alert that is similar."""

    similarity: Similarity = Field(
        description="`same_box`: of the same rule on the same box, or on the whole site. `same_rule`: of the "
        "same rule on another box. `same_metric`: of another rule on the same metric at the site"
    )
    duration_s: float | None = Field(
        description="Seconds from `started_at` to `resolved_at`; null while it fires", examples=[1260.0]
    )
    last_comment: LastComment | None = Field(description="Null without comments")


class SimilarStatistics(BaseModel):
    """Counts of similar alerts of one degree of similarity."""

    similarity: Similarity
    total_30_days: int = Field(
        description=f"Alerts that started in the {SHORT_DAYS} days before the alert", examples=[2]
    )
    total_90_days: int = Field(description=f"Alerts that started {_PERIOD}", examples=[5])
    median_duration_s: float | None = Field(
        description="Median of `duration_s` of these that have resolved; null if none has", examples=[1260.0]
    )
    acknowledged: int = Field(description="Of these, alerts with an acknowledgement", examples=[3])
    unacknowledged: int = Field(
        description="Of these, alerts that resolved without an acknowledgement", examples=[2]
    )
    muted: int = Field(
        description="Of these, alerts that a silence or an inhibition muted at some time", examples=[1]
    )
    cleared: int = Field(description="Of these, alerts that samples resolved", examples=[5])


class SimilarAlerts(Page[SimilarAlertOut]):
    """A page of similar alerts."""

    summary: list[SimilarStatistics] | None = Field(
        description="Statistics for each degree of similarity, the closest first. Null on later pages"
    )
