"""Follows the pages of lists, and raises the problems that calls return."""

from collections.abc import Callable, Iterator
from typing import Any

from .models.problem import Problem


class ProblemError(Exception):
    """The API refused a call.

    Attributes:
        problem: The answer (RFC 9457), with the stable `code`.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.code}: {problem.detail}")
        self.problem = problem
        self.code = problem.code


def check[T](answer: "T | Problem | None") -> T:
    """Return the answer of a call (ProblemError: it is a refusal)."""
    if isinstance(answer, Problem):
        raise ProblemError(answer)
    if answer is None:
        raise TypeError("The answer has no content that the OpenAPI document describes.")
    return answer


def iterate_entries(call: Callable[..., Any], **arguments: Any) -> Iterator[Any]:
    """Yield the entries of all pages of a list.

    Args:
        call: `sync` of a call that lists, such as `list_boxes.sync`.
        arguments: Its arguments.

    Raises:
        ProblemError: The API refused a page.
    """
    while True:
        page = check(call(**arguments))
        yield from page.data
        if page.next_ is None:
            return
        arguments["cursor"] = page.next_
