"""Serves `/v1/alerts/{alert_id}/similar`: earlier alerts that are similar, with statistics."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Response

from app.alerts import repository, similar_alert_queries
from app.alerts.alert_presentation import Presenter
from app.alerts.similar_alert_queries import SIMILAR, SIMILARITIES, Similarity
from app.alerts.similar_alert_schemas import SimilarAlerts
from app.platform.db.tenant_reader import FlatRow
from app.platform.http.contract.session_dependencies import (
    ReaderDependency,
    ReadSessionDep,
    make_json_response,
)
from app.platform.http.contract.sorting import PageRequest
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.identity.caller_authentication import Principal, require_scope
from app.platform.kernel.ids import parse_id

router: Final = APIRouter(prefix="/v1/alerts", tags=["Alerts"], route_class=StrictRoute)

_COUNTS: Final = (
    *("total_30_days", "total_90_days", "median_duration_s"),
    *("acknowledged", "unacknowledged", "muted", "cleared"),
)


@router.get("/{alert_id}/similar", summary="List similar alerts", response_model=SimilarAlerts)
async def list_similar_alerts(
    *,
    principal: Annotated[Principal, Depends(require_scope("alerts:read"))],
    session: ReadSessionDep,
    reader: ReaderDependency,
    presenter: Presenter,
    alert_id: str,
    query: Annotated[PageRequest, Depends(SIMILAR.page_request)],
) -> Response:
    """List earlier alerts that are similar, the closest first, then the newest first.

    First those of the same rule on the same box (or whole site), then of the same rule on other boxes, then
    of other rules on the same metric at the site; of the year before the alert was recorded. `sort=-id` lists
    them by time alone. Each has its duration, its acknowledgement, how it ended, and its last comment.
    """
    visible = principal.visible()
    alert, _ = await repository.find_alert(session, parse_id(alert_id, "alert"), visible)
    found = await similar_alert_queries.list_similar_alerts(reader, alert, visible, query)
    rows, following = SIMILAR.cut(found, query)
    comments = await similar_alert_queries.read_last_comments(session, [row.id for row in rows])
    summary = None
    if query.cursor is None:
        counted = await similar_alert_queries.count_similar_alerts(reader, alert, visible)
        summary = [_format_statistics(each, counted.get(each)) for each in reversed(SIMILARITIES)]
    data = [
        shown | _format_similarity(row, comments.get(row.id))
        for row, shown in zip(rows, await presenter.format_rows(rows), strict=True)
    ]
    return make_json_response({"data": data, "next": following, "summary": summary})


def _format_similarity(row: FlatRow, comment: tuple[str, str | None, object] | None) -> dict[str, Any]:
    ended = row.resolved_at
    return {
        "similarity": SIMILARITIES[row.similarity],
        "duration_s": None if ended is None else (ended - row.started_at).total_seconds(),
        "last_comment": None if comment is None else dict(zip(("text", "actor", "at"), comment, strict=True)),
    }


def _format_statistics(similarity: Similarity, row: FlatRow | None) -> dict[str, Any]:
    counts = dict.fromkeys(_COUNTS, 0) | {"median_duration_s": None}
    return {"similarity": similarity} | (counts if row is None else {name: row[name] for name in _COUNTS})
