"""Defines the error of a query that cannot be answered: 400, a stable code, option and position. Pure."""

from app.platform.kernel.errors import VigieError


class QueryError(VigieError):
    """A query that cannot be answered. `option` and `position` (from 0) say where the fault is.

    Codes: `invalid_query` (it cannot be parsed or computed), `invalid_option` (an unknown option, or a value
    that it cannot have), `unknown_property`, `wrong_type`, `not_supported`, `invalid_geometry`,
    `query_too_large`, `query_too_slow`.
    """

    status = 400
    code = "invalid_query"

    def __init__(
        self,
        detail: str,
        *,
        code: str = "invalid_query",
        option: str | None = None,
        position: int | None = None,
    ) -> None:
        extra = {"option": option, "position": position}
        super().__init__(
            detail, code=code, extra={key: value for key, value in extra.items() if value is not None}
        )

    def of_option(self, option: str) -> "QueryError":
        """Name the option, unless it is named already."""
        self.extra.setdefault("option", option)
        return self
