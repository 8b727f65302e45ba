"""Serves the metric catalogue over REST."""

from dataclasses import asdict
from typing import Final

from fastapi import APIRouter, Depends

from app.catalogue.metrics import CATALOGUE
from app.catalogue.schemas import MetricOut, UnitOut
from app.catalogue.units import FACTORS
from app.platform.http.contract.pagination import Page
from app.platform.identity.caller_authentication import current_principal
from app.platform.identity.grant_access import open_to_grants

router: Final = APIRouter(prefix="/v1/metrics", tags=["Metrics"], dependencies=[Depends(current_principal)])
_ALL: Final = Page[MetricOut](
    data=[
        MetricOut(
            **asdict(metric),
            units=[UnitOut(unit=unit, factor=factor) for unit, factor in FACTORS[metric.name].items()],
        )
        for metric in CATALOGUE
    ],
    next=None,
)


@router.get("", summary="List metrics")
@open_to_grants("catalogue")
async def list_metrics() -> Page[MetricOut]:
    """List the metrics that a sample may have, with unit, bounds and the units that are converted.

    A sample with another metric is refused.
    """
    return _ALL
