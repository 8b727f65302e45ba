"""Serves the page on all machines of the installation, for the platform's administrators."""

from typing import Final
from urllib.parse import quote

from fastapi import APIRouter, Response

from app.console.administration import cluster_words
from app.console.administration.administration_pages import ADMINISTRATION_PATH, render_administration
from app.console.framework.api_calls import ApiProblemError
from app.console.framework.console_route import ConsoleRoute
from app.console.framework.console_visit import ConsoleVisit, Visit
from app.console.framework.form_fields import FormState, read_console_form
from app.console.framework.page_rendering import redirect_to

_PATH: Final = f"{ADMINISTRATION_PATH}/cluster"
router: Final = APIRouter(prefix=_PATH, include_in_schema=False, route_class=ConsoleRoute)


@router.get("")
async def show_cluster(visit: Visit) -> Response:
    """Show edges, the message log, database hosts and processes, and what is wrong with them."""
    return await _show(visit, FormState())


async def _show(visit: ConsoleVisit, form: FormState) -> Response:
    cluster = await visit.api.get("/v1/cluster")
    return render_administration(
        visit,
        "administration/cluster.html",
        title=visit.t("Cluster"),
        part="cluster",
        status=200 if form.problem is None else form.problem.status,
        cluster=cluster,
        totals=cluster_words.count_totals(cluster),
        machines=cluster_words.group_processes(cluster["processes"]),
        cluster_words=cluster_words,
        form=form,
    )


@router.post("/edges/remove")
async def remove_edge(visit: Visit) -> Response:
    """Remove an edge that is gone for good. Its name may have any characters, so it is in the form."""
    fields = await read_console_form(visit)
    try:
        await visit.api.delete(f"/v1/cluster/edges/{quote(fields.one('name'), safe='')}")
    except ApiProblemError as error:
        return await _show(visit, FormState(fields, error))
    return redirect_to(visit.request, _PATH, done="edge_removed")
