"""Where a service's files live: a folder that belongs to us, with a part that belongs to the service.

When Vigie runs as root, the service's account may not be able to reach the folder it is given (root's
home is closed). No permission of a folder that is not ours is ever loosened: the files then live elsewhere.

What the private services have in common: they are context managers with one process.
"""

import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from app.standalone.child_process import ChildProcess
from app.standalone.service_accounts import StandaloneError, SystemAccount, can_reach


def make_folder(
    folder: Path, mode: int, account: SystemAccount | None = None, *, group_only: bool = False
) -> Path:
    """Make `folder` (or take the one that is there), with `mode`, owned by `account`.

    With `group_only` the account may only read: owner stays root, the group is the account's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if account is not None:
        os.chown(folder, 0 if group_only else account.uid, account.gid)
    folder.chmod(mode)
    return folder


class ServiceDirectory:
    """The folder of one service.

    `folder` itself where `account` can reach it; else, and only if `durable` is false, a temporary folder
    that lives as long as this object is open, with `folder/home` pointing to it.
    """

    def __init__(self, folder: Path, account: SystemAccount | None, *, durable: bool) -> None:
        self.folder = folder.absolute()
        self.account = account
        self._durable = durable
        self._temporary: Path | None = None
        self.path = self.folder

    def open(self) -> Path:
        """Make the folder and give it.

        Raises:
            EmbeddedError: the account cannot reach it, and the files are to last.
        """
        if self._temporary is not None:
            return self.path
        self.folder.mkdir(parents=True, exist_ok=True)
        if can_reach(self.account, self.folder):
            return self.path
        if self._durable or self.account is None:
            who = self.account.name if self.account else "this user"
            raise StandaloneError(f"{who} cannot reach {self.folder}")
        self._temporary = Path(tempfile.mkdtemp(prefix="vigie-"))
        self._temporary.chmod(0o711)
        link = self.folder / "home"
        link.unlink(missing_ok=True)
        link.symlink_to(self._temporary)
        self.path = self._temporary
        return self.path

    def close(self) -> None:
        """Remove the temporary folder, if there was one."""
        if self._temporary is not None:
            (self.folder / "home").unlink(missing_ok=True)
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None
            self.path = self.folder


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
