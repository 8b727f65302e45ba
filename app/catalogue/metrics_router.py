"""REST for the metric catalogue."""

from dataclasses import asdict
from typing import Final

from fastapi import APIRouter, Depends

from app.catalogue.metrics import CATALOGUE
from app.catalogue.schemas import MetricOut, UnitOut
from app.catalogue.units import FACTORS
from app.platform.http.contract.pagination import Page
from app.platform.http.contract.problems import document_problems
from app.platform.identity.principals import current_principal

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


@router.get("", operation_id="list_metrics", summary="The metric catalogue", responses=document_problems(401))
async def list_metrics() -> Page[MetricOut]:
    """Every metric that a sample may have: its unit, its bounds, the units that it is converted from.

    What is not here is refused.
    """
    return _ALL
