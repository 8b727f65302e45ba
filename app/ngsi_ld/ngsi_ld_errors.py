"""Defines the errors of NGSI-LD, each with the type that the standard names. Pure."""

from app.platform.kernel.errors import VigieError

_TYPES = "https://uri.etsi.org/ngsi-ld/errors/"
BAD_REQUEST_DATA = f"{_TYPES}BadRequestData"
RESOURCE_NOT_FOUND = f"{_TYPES}ResourceNotFound"


class BadRequestDataError(VigieError):
    """A request that is not valid; `option` names the parameter or the field at fault."""

    status = 400
    code = "invalid_option"

    def __init__(self, detail: str, option: str) -> None:
        super().__init__(detail, extra={"type": BAD_REQUEST_DATA, "option": option})


class OperationNotSupportedError(VigieError):
    """A request that the standard allows and Vigie does not answer."""

    status = 422
    code = "not_supported"

    def __init__(self, detail: str, option: str) -> None:
        super().__init__(detail, extra={"type": f"{_TYPES}OperationNotSupported", "option": option})


class ResourceNotFoundError(VigieError):
    """There is no such entity, or the caller may not see it."""

    status = 404
    code = "not_found"

    def __init__(self, identifier: str) -> None:
        detail = f"There is no entity {identifier[:128]!r}."
        super().__init__(detail, extra={"type": RESOURCE_NOT_FOUND})
