"""Reads all boxes of a tenant scope with places and states, as JSON that PostgreSQL writes by column."""

from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    Subquery,
    Text,
    case,
    cast,
    func,
    literal,
    select,
)

from app.alerts.box_map_schemas import MAPPED_BOXES, STATES
from app.alerts.models import Alert
from app.platform.db.tenant_reader import CompiledStatement, FlatRow, TenantReader, compile_statement
from app.platform.kernel.tenant_scope import TenantScope
from app.registry.box_filters import BOX_STATES, SilenceCriterion, join_activity, select_activity
from app.registry.models import Box, Site

_NUMBERS: Final[dict[str, int]] = {state: number for number, state in enumerate(STATES)}
COLUMNS: Final = ("ids", "labels", "site", "longitude", "latitude", "state")


async def read_box_map(
    reader: TenantReader, visible: TenantScope, organisation: UUID | None, silence: SilenceCriterion
) -> FlatRow:
    """Read the sites and the boxes: the JSON texts of `sites`, `total` and each column, in order of creation.

    One statement, so that states and places are of one moment. PostgreSQL writes the JSON: rows of ten
    thousand boxes would take longer in Python than in the database.

    Args:
        reader: Runs the statement.
        visible: The caller's tenant scope.
        organisation: Only boxes of this organisation; None: of all in the tenant scope.
        silence: The criterion of a silent box.
    """
    (row,) = await reader.fetch(_compile(visible, organisation), silence.values())
    return row


@lru_cache(512)
def _compile(visible: TenantScope, organisation: UUID | None) -> CompiledStatement:
    firing = _firing(visible, organisation)
    sites = _sites(visible, organisation, firing)
    boxes = _boxes(visible, organisation, firing, sites)
    listed = select(func.coalesce(cast(func.json_agg(sites.c.document), Text), "[]")).scalar_subquery()
    statement = select(
        listed.label("sites"),
        cast(func.coalesce(func.max(boxes.c.total), 0), Text).label("total"),
        *(_column(boxes.c[name]) for name in COLUMNS),
    )
    return compile_statement(statement)


def _column(column: ColumnElement[Any]) -> ColumnElement[str]:
    # Unlike json_agg, it writes no space after each comma.
    written = cast(func.array_to_json(func.array_agg(column)), Text)
    return func.coalesce(written, "[]").label(column.key)


def _firing(visible: TenantScope, organisation: UUID | None) -> CTE:
    """Select the worst firing alert of each box, and of each site as a whole (`box_key` is null)."""
    severities = {name: _NUMBERS[f"alert_{name}"] for name in ("info", "warning", "critical")}
    number = case(severities, value=Alert.severity, else_=_NUMBERS["alert_info"])
    statement = select(Alert.site_id, Alert.box_key, func.max(number).label("number"))
    statement = statement.where(Alert.state == "firing", Alert.dry_run.is_(False))
    statement = statement.where(*visible.within(Alert.organisation_id, Alert.site_id))
    if organisation is not None:
        statement = statement.where(Alert.organisation_id == organisation)
    return statement.group_by(Alert.site_id, Alert.box_key).cte("firing")


def _sites(visible: TenantScope, organisation: UUID | None, firing: CTE) -> CTE:
    """Select the sites with their JSON and their index, from 0."""
    whole = select(firing.c.site_id, firing.c.number).where(firing.c.box_key.is_(None)).subquery()
    document = func.json_build_object(
        *("id", Site.id, "name", Site.name, "organisation_id", Site.organisation_id),
        *("longitude", Site.longitude, "latitude", Site.latitude),
        *("state", func.coalesce(whole.c.number, 0)),
    )
    place = func.row_number().over(order_by=Site.id) - 1
    statement = select(
        Site.id, Site.longitude, Site.latitude, place.label("place"), document.label("document")
    ).outerjoin(whole, whole.c.site_id == Site.id)
    statement = statement.where(*visible.within(Site.organisation_id, Site.id))
    if organisation is not None:
        statement = statement.where(Site.organisation_id == organisation)
    return statement.order_by(Site.id).cte("sites")


def _boxes(visible: TenantScope, organisation: UUID | None, firing: CTE, sites: CTE) -> Subquery:
    # An alert stays with the site where it fired, though the box has moved: it is an alert of the box.
    alerts = select(firing.c.box_key, func.max(firing.c.number).label("number"))
    alert = alerts.where(firing.c.box_key.is_not(None)).group_by(firing.c.box_key).subquery()
    columns = (
        Box.id.label("ids"),
        func.coalesce(Box.name, Box.id).label("labels"),
        sites.c.place.label("site"),
        func.coalesce(Box.longitude, sites.c.longitude).label("longitude"),
        func.coalesce(Box.latitude, sites.c.latitude).label("latitude"),
        func.greatest(_activity(), func.coalesce(alert.c.number, 0)).label("state"),
        cast(func.count().over(), BigInteger).label("total"),
    )
    statement: Select[Any] = join_activity(select(*columns))
    statement = statement.join(sites, sites.c.id == Box.site_id)
    statement = statement.outerjoin(alert, alert.c.box_key == Box.key)
    statement = statement.where(Box.deleted_at.is_(None), *visible.within(Box.organisation_id, Box.site_id))
    if organisation is not None:
        statement = statement.where(Box.organisation_id == organisation)
    # The same order in each response: it is easier to compress, and its ETag stays.
    return statement.order_by(Box.key).limit(MAPPED_BOXES).subquery("boxes")


def _activity() -> ColumnElement[int]:
    never = BOX_STATES.c.last_sample_at.is_(None)
    silent = case((never, _NUMBERS["never_heard"]), else_=_NUMBERS["silent"])
    numbers = {"silent": silent, "refused": literal(_NUMBERS["refused"], Integer)}
    return case(numbers, value=select_activity(), else_=literal(_NUMBERS["active"], Integer))
