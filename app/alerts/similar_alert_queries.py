"""Queries earlier alerts that are similar to one, and statistics on them.

Three degrees of similarity, from the closest: the same rule on the same box (or on the whole site), the same
rule on other boxes, and other rules on the same metric at the site.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Double,
    Integer,
    Select,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    exists,
    extract,
    func,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP, distinct_on

from app.alerts.models import Alert, TimelineEntry
from app.alerts.repository import select_listed
from app.platform.db.database import ReadSession
from app.platform.db.tenant_reader import CompiledStatement, FlatRow, TenantReader, compile_statement
from app.platform.http.contract.sorting import PageRequest, SortOrders, number_sort_key, uuid_sort_key
from app.platform.kernel.ids import first_id
from app.platform.kernel.tenant_scope import TenantScope

type Similarity = Literal["same_box", "same_rule", "same_metric"]

SIMILARITIES: Final[tuple[Similarity, ...]] = ("same_metric", "same_rule", "same_box")
"""By the values of the sort key."""

SEARCHED_DAYS: Final = 365
"""How far back similar alerts are searched, in days before the alert was recorded."""

SHORT_DAYS: Final = 30
LONG_DAYS: Final = 90
"""The periods of the statistics."""

_alert = bindparam("similar_alert", type_=Uuid)
_rule = bindparam("similar_rule", type_=Uuid)
_box = bindparam("similar_box", type_=Integer)
_metric = bindparam("similar_metric", type_=Text)
_site = bindparam("similar_site", type_=Uuid)
_dry_run = bindparam("similar_dry_run", type_=Boolean)
_oldest = bindparam("similar_oldest", type_=Uuid)
_short_start = bindparam("similar_short_start", type_=TIMESTAMP(timezone=True))
_long_start = bindparam("similar_long_start", type_=TIMESTAMP(timezone=True))

_SIMILARITY: Final = case(
    (and_(Alert.rule_id == _rule, Alert.box_key.is_not_distinct_from(_box)), 2),
    (Alert.rule_id == _rule, 1),
    else_=0,
)
SIMILAR: Final = SortOrders(
    "similar_alerts",
    (uuid_sort_key(Alert.id),),
    {"similarity": (number_sort_key(_SIMILARITY, attrgetter("similarity")),), "id": ()},
    "-similarity",
)


def make_values(alert: Alert) -> dict[str, Any]:
    """Return the values of the statements' parameters for an alert."""
    return {
        "similar_alert": alert.id,
        "similar_rule": alert.rule_id,
        "similar_box": alert.box_key,
        "similar_metric": alert.metric,
        "similar_site": alert.site_id,
        "similar_dry_run": alert.dry_run,
        "similar_oldest": first_id(alert.created_at - timedelta(days=SEARCHED_DAYS)),
        "similar_short_start": alert.started_at - timedelta(days=SHORT_DAYS),
        "similar_long_start": alert.started_at - timedelta(days=LONG_DAYS),
    }


def _conditions(visible: TenantScope) -> tuple[ColumnElement[bool], ...]:
    # A rule belongs to one site: the index of alerts by site and id serves all three degrees.
    return (
        *visible.within(Alert.organisation_id, Alert.site_id),
        Alert.site_id == _site,
        Alert.id < _alert,
        Alert.id >= _oldest,
        Alert.dry_run == _dry_run,
        or_(Alert.rule_id == _rule, Alert.metric == _metric),
    )


# Lists are polled: a statement that was built before is not built again.
@lru_cache(256)
def _compile_page(visible: TenantScope, page: PageRequest) -> CompiledStatement:
    statement = select_listed().add_columns(_SIMILARITY.label("similarity")).where(*_conditions(visible))
    return compile_statement(SIMILAR.page(statement, page))


async def list_similar_alerts(
    reader: TenantReader, alert: Alert, visible: TenantScope, page: PageRequest
) -> list[FlatRow]:
    """Read a page of similar alerts, and one more if there is a next page.

    Returns:
        The columns of `app.alerts.repository.compile_alert_page`, and `similarity`, an index of
        `SIMILARITIES`.
    """
    return await reader.fetch(_compile_page(visible, page), make_values(alert))


@lru_cache(256)
def _compile_statistics(visible: TenantScope) -> CompiledStatement:
    similarity = _SIMILARITY.label("similarity")
    duration_s = extract("epoch", Alert.resolved_at - Alert.started_at)
    muted = exists().where(
        TimelineEntry.alert_id == Alert.id, TimelineEntry.kind.in_(("suppressed", "unsuppressed"))
    )
    resolved = Alert.state == "resolved"
    acknowledged = Alert.acknowledged_at.is_not(None)
    statement = select(
        similarity,
        func.count().filter(Alert.started_at >= _short_start).label("total_30_days"),
        func.count().label("total_90_days"),
        func.percentile_cont(0.5)
        .within_group(duration_s)
        .filter(resolved)
        .cast(Double)
        .label("median_duration_s"),
        func.count().filter(acknowledged).label("acknowledged"),
        func.count().filter(resolved, ~acknowledged).label("unacknowledged"),
        func.count().filter(or_(Alert.suppressed.is_not(None), muted)).label("muted"),
        func.count().filter(Alert.resolution == "cleared").label("cleared"),
    )
    statement = statement.where(*_conditions(visible), Alert.started_at >= _long_start)
    return compile_statement(statement.group_by(similarity))


async def count_similar_alerts(
    reader: TenantReader, alert: Alert, visible: TenantScope
) -> Mapping[Similarity, FlatRow]:
    """Compute the statistics on similar alerts of the days before an alert, by degree of similarity."""
    rows = await reader.fetch(_compile_statistics(visible), make_values(alert))
    return {SIMILARITIES[row.similarity]: row for row in rows}


async def read_last_comments(
    session: ReadSession, alert_ids: Sequence[UUID]
) -> dict[UUID, tuple[str, str | None, datetime]]:
    """Read the last comment of alerts, with its author and time, by alert id."""
    statement: Select[*tuple[Any, ...]] = (
        select(TimelineEntry.alert_id, TimelineEntry.comment, TimelineEntry.actor, TimelineEntry.recorded_at)
        .where(TimelineEntry.alert_id.in_(alert_ids), TimelineEntry.comment.is_not(None))
        .ext(distinct_on(TimelineEntry.alert_id))
        .order_by(TimelineEntry.alert_id, TimelineEntry.position.desc())
    )
    rows = await session.execute(statement)
    return {row.alert_id: (row.comment, row.actor, row.recorded_at) for row in rows}
