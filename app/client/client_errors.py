"""Defines the errors of the client, each with the exit code of the command."""

from collections.abc import Mapping
from typing import Any, Final

EXIT_REFUSED: Final = 1
EXIT_USAGE: Final = 2
EXIT_UNREACHABLE: Final = 3
EXIT_INVALID_FILE: Final = 4
EXIT_CHANGED_MEANWHILE: Final = 5


class ClientError(Exception):
    """A command cannot continue; the text says why and what to do."""

    exit_code = EXIT_REFUSED


class UsageError(ClientError):
    """The options, the environment or the profiles do not say what to do."""

    exit_code = EXIT_USAGE


class UnreachableError(ClientError):
    """The API did not answer, or its answer broke off: the command may be repeated."""

    exit_code = EXIT_UNREACHABLE


class InvalidFileError(ClientError):
    """A file of rules has faults, each with its file and line."""

    exit_code = EXIT_INVALID_FILE


class ApiError(ClientError):
    """The API refused a request.

    Attributes:
        status: The HTTP status.
        problem: The body (RFC 9457).
    """

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.problem = problem
        request = f" (request {problem['request_id']})" if "request_id" in problem else ""
        super().__init__(f"{self.code}: {problem.get('detail', f'The API answered {status}.')}{request}")

    @property
    def code(self) -> str:
        """The stable code of the problem."""
        return str(self.problem.get("code", f"http_{self.status}"))

    @property
    def faults(self) -> list[tuple[str, str]]:
        """The invalid fields, each with its fault."""
        return [(str(each["field"]), str(each["detail"])) for each in self.problem.get("errors", ())]


class ChangedMeanwhileError(ClientError):
    """Another caller changed a rule between the plan and its change."""

    exit_code = EXIT_CHANGED_MEANWHILE
