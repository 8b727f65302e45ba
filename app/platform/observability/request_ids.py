"""The id of the request that is being answered: in its response, its log lines, and its problem."""

import re
from contextvars import ContextVar, Token
from typing import Final

from app.platform.kernel.ids import new_id

# Enough for a UUID, a ULID or a trace id; nothing that could break a log line or a header.
_FORM: Final = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_current: ContextVar[str | None] = ContextVar("request_id", default=None)


def current_request_id() -> str | None:
    """The id of the request that this task answers; None outside of one."""
    return _current.get()


def begin_request_id(given: bytes | None) -> Token[str | None]:
    """Give this task's request its client's id, where that has the form of one; else a new one."""
    fit = given is not None and _FORM.fullmatch(given)
    return _current.set(given.decode("ascii") if given is not None and fit else str(new_id()))


def end_request_id(token: Token[str | None]) -> None:
    """Forget it."""
    _current.reset(token)
