"""Changes resources by forms that contain all their fields, unless another person changed them meanwhile.

A form carries the ETag of the resource that it shows, and its change is sent with `If-Match`. Otherwise a
page that was opened an hour ago would undo each change since.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from app.console.framework.api_calls import ApiProblemError
from app.console.framework.console_visit import ConsoleVisit
from app.console.framework.form_fields import FormFields, FormState

ETAG_FIELD: Final = "etag"
"""The field with the ETag of a form's resource."""
_PRECONDITION_FAILED: Final = 412


class TaggedResource(NamedTuple):
    """A resource with its ETag.

    Attributes:
        data: Its JSON.
        etag: Its ETag.
    """

    data: Mapping[str, Any]
    etag: str


async def read_tagged(visit: ConsoleVisit, path: str) -> TaggedResource:
    """Read a resource with its ETag."""
    answer = await visit.api.fetch("GET", path)
    return TaggedResource(answer.json(), answer.headers.get("etag", ""))


async def change_guarded(
    visit: ConsoleVisit, method: str, path: str, body: object, fields: FormFields
) -> Any:  # noqa: ANN401 (JSON)
    """Change a resource if it is as its form showed it. A form without an ETag changes it in any case.

    Raises:
        ApiProblemError: Another person changed it meanwhile (412, with a text for the form), or as `call`.
    """
    etag = fields.one(ETAG_FIELD)
    try:
        return await visit.api.call(method, path, body=body, headers={"If-Match": etag} if etag else {})
    except ApiProblemError as error:
        if error.status != _PRECONDITION_FAILED:
            raise
        detail = visit.t(
            "Somebody else changed this meanwhile. The form has what you typed: save it again to replace "
            "their change, or open the page again to see it."
        )
        problem = {"detail": detail, "code": error.code, "language": visit.language}
        raise ApiProblemError(problem, error.status) from None


def choose_etag(form: FormState, present: str) -> str:
    """Choose the ETag of a form that is shown.

    A refused form retains its own, because the person has not seen what changed since it was opened. Once the
    page says that something changed, the form gets the present one.
    """
    problem = form.problem
    if problem is None or problem.status == _PRECONDITION_FAILED:
        return present
    return form.fields.one(ETAG_FIELD) or present
