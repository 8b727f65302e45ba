"""Starts back-tests of rules from the console, and reads them for pages."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from app.catalogue.metrics import METRICS_BY_NAME
from app.console.framework.console_visit import ConsoleVisit
from app.console.framework.form_fields import FormFields
from app.console.rules.backtest_coverage import BacktestCoverage, describe_coverage
from app.console.rules.backtest_strips import BacktestPicture, draw_backtest
from app.platform.kernel.errors import NotFoundError
from app.platform.kernel.ids import parse_id

RANGES: Final = (7, 30, 90)
"""The ranges of back-tests (days)."""
DEFAULT_DAYS: Final = 30
_WAIT_S: Final = 2
_BOXES: Final = 1_000


@dataclass(frozen=True, slots=True)
class BacktestView:
    """A back-test on a page.

    Attributes:
        found: The back-test, as the API returns it.
        picture: Its result; None until it is done.
        coverage: The data that it rests on; None until it is done, and for a rule on events alone.
        days: Its range.
        zone: The time zone of the site.
    """

    found: Mapping[str, Any]
    picture: BacktestPicture | None
    coverage: BacktestCoverage | None
    days: int
    zone: str

    @property
    def is_running(self) -> bool:
        """Whether it is not finished."""
        return self.found["state"] in {"queued", "running"}


def read_days(fields: FormFields) -> int:
    """Return the range that was chosen (days)."""
    text = fields.one("days")
    return int(text) if text.isdecimal() and int(text) in RANGES else DEFAULT_DAYS


async def start_backtest(
    visit: ConsoleVisit, tried: Mapping[str, Any], fields: FormFields
) -> Mapping[str, Any]:
    """Start a back-test, and wait a moment for its result.

    Args:
        visit: The visit.
        tried: The `rule`, or `rule_id` and `version`.
        fields: The form, with the range in `days`.

    Raises:
        ApiProblemError: The API refuses it.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    body = {
        **tried,
        "from": (now - timedelta(days=read_days(fields))).isoformat(),
        "to": now.isoformat(),
    }
    started: Mapping[str, Any] = await visit.api.post(f"/v1/rules/backtest?wait={_WAIT_S}", body)
    return started


async def read_backtest(
    visit: ConsoleVisit, backtest_id: str, zone: str | None = None
) -> BacktestView | None:
    """Read a back-test; None for no id, an unknown one, or one that the person may not see."""
    if not backtest_id:
        return None
    try:
        path = f"/v1/rules/backtests/{parse_id(backtest_id, 'back-test')}"
    except NotFoundError:
        return None
    found = await visit.api.get_unless_refused(path)
    return None if found is None else await view_backtest(visit, found, zone)


async def view_backtest(
    visit: ConsoleVisit, found: Mapping[str, Any], zone: str | None = None
) -> BacktestView:
    """Prepare a back-test for a page, with the names of boxes and the time zone of its site."""
    if zone is None:
        site = await visit.api.get_unless_refused(f"/v1/sites/{found['site_id']}")
        zone = site["timezone"] if site else "UTC"
    names: dict[str, str] = {}
    if found["result"] is not None and found["result"]["alerts"]:
        boxes = await visit.api.get_unless_refused("/v1/boxes", site=found["site_id"], limit=_BOXES)
        names = {box["id"]: box["name"] or box["id"] for box in boxes["data"]} if boxes else {}
    span = datetime.fromisoformat(found["to"]) - datetime.fromisoformat(found["from"])
    picture = draw_backtest(found, names, visit.formatter(zone))
    coverage = describe_coverage(found, await _name_indices(visit, found), visit.formatter(zone))
    return BacktestView(found, picture, coverage, round(span / timedelta(days=1)), zone)


async def _name_indices(visit: ConsoleVisit, found: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the titles and units of indices by name, if the back-test is of a rule on one."""
    coverage = (found["result"] or {}).get("coverage")
    if coverage is None or all(each["name"] in METRICS_BY_NAME for each in coverage["measured"]):
        return {}
    title = "title_fr" if visit.language == "fr" else "title"
    indices = (await visit.api.get("/v1/indices"))["data"]
    return {each["name"]: (each[title], each["unit"]) for each in indices}
