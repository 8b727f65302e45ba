"""What is asked of the service itself: is it alive, can it serve, what are its figures?"""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from app import __version__
from app.platform.http.contract.operator_auth import is_operator_request, require_operator
from app.platform.http.contract.problems import document_problems
from app.platform.observability.metrics_and_logs import render_metrics
from app.platform.runtime.readiness import Health, Readiness
from app.platform.runtime.release import current_commit

router = APIRouter()


@router.get("/", include_in_schema=False)
async def home() -> RedirectResponse:
    """Whoever opens the API in a browser wants its documentation."""
    return RedirectResponse("/docs")


@router.get("/healthz", tags=["Service"], summary="Is the process alive?", operation_id="get_health")
async def healthz() -> Health:
    """Answer 200 as long as the process can answer at all."""
    return Health(version=__version__, commit=await asyncio.to_thread(current_commit))


@router.get(
    "/readyz",
    tags=["Service"],
    summary="Can it serve?",
    operation_id="get_readiness",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "A required dependency is missing"}},
)
async def readyz(request: Request) -> JSONResponse:
    """Say the state of each dependency; 503 when a required one is missing.

    Why one has failed is told to whoever may read `/metrics`; for others `detail` is empty.
    """
    readiness: Readiness = await request.app.state.probe.readiness()
    if not is_operator_request(request):
        readiness = readiness.without_details()
    return JSONResponse(readiness.model_dump(), status_code=200 if readiness.ready else 503)


@router.get(
    "/metrics",
    tags=["Service"],
    summary="Prometheus metrics",
    operation_id="get_prometheus_metrics",
    response_class=Response,
    response_description="Prometheus' text format",
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **document_problems(401, 403),
    },
)
async def prometheus(_: Annotated[None, Depends(require_operator)]) -> Response:
    """Give this process's metrics; in the embedded stack, those of all roles.

    For whoever shows the token of `VIGIE_API__METRICS_TOKEN`; where none is set, for clients on the same
    machine.
    """
    return Response(render_metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")
