"""Defines routes on which a fault of the request is 400, as OGC API and NGSI-LD require."""

from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError

from app.platform.http.contract.problems import summarise_faults
from app.platform.http.contract.strict_body import StrictRoute
from app.platform.kernel.errors import InvalidError, NotFoundError, VigieError


class RefusedRequestError(VigieError):
    """A request that is refused as in Vigie's own API, but with status 400."""

    status = 400


class StandardRoute(StrictRoute):
    """A route whose refusals are 400, such as that of an unknown query parameter, not 422."""

    problem_type: ClassVar[str | None] = None
    """The `type` of refusals; None: the standard names none."""
    missing_type: ClassVar[str | None] = None
    """The `type` of what does not exist; None: the standard names none."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of a strict route, with the standards' status of faults."""
        handler = super().get_route_handler()
        shared = {} if self.problem_type is None else {"type": self.problem_type}

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except InvalidError as error:
                extra = {**shared, **(error.extra or {})}
                raise RefusedRequestError(error.detail, code=error.code, extra=extra) from None
            except RequestValidationError as error:
                raise _refuse(error, shared) from None
            except NotFoundError as error:
                if self.missing_type is not None:
                    error.extra.setdefault("type", self.missing_type)
                raise

        return answer


def _refuse(error: RequestValidationError, shared: dict[str, Any]) -> RefusedRequestError:
    """Return the error of a parameter or a field at fault."""
    summary = summarise_faults(error)
    place, *rest = error.errors()[0]["loc"]
    if place != "query":
        return RefusedRequestError(
            summary.detail, code=summary.code, extra={**shared, "errors": summary.list_errors()}
        )
    name = str(rest[0])
    fault = summary.faults[0]
    detail = f"Add the parameter `{name}`." if fault.code == "missing_field" else f"`{name}`: {fault.detail}."
    return RefusedRequestError(detail, code="invalid_option", extra={**shared, "option": name})
