"""What the private services have in common: they are context managers with one process."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import ClassVar, Self

from app.standalone.child_process import ChildProcess
from app.standalone.service_accounts import StandaloneError


class PrivateService(ABC):
    """A service of our own: `start`, `stop`, and `close` for what is temporary.

    Attributes:
        title: its name, for messages.
        child: its process, while it runs.
    """

    title: ClassVar[str]
    child: ChildProcess | None = None

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.stop()
        finally:
            self.close()

    @abstractmethod
    async def start(self) -> None:
        """Start the service and wait until it answers."""

    @abstractmethod
    async def stop(self) -> None:
        """Stop it; nothing that was promised is lost."""

    @abstractmethod
    def close(self) -> None:
        """Remove what is temporary."""

    @property
    def pid(self) -> int:
        """The number of its process.

        Raises:
            EmbeddedError: it was not started.
        """
        if self.child is None:
            raise StandaloneError(f"{self.title} is not running")
        return self.child.pid
