"""Chooses the folder for the files of a server that Vigie starts itself: PostgreSQL, Mosquitto.

It also defines the base class of these servers.

When Vigie runs as root, the service's account may not be able to reach the given folder (root's home is
closed). Permissions of existing folders are never loosened: the files are stored elsewhere instead.
"""

import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from app.standalone.child_process import ChildProcess
from app.standalone.unprivileged_accounts import StandaloneError, SystemAccount, can_reach


def make_folder(
    folder: Path, mode: int, account: SystemAccount | None = None, *, group_only: bool = False
) -> Path:
    """Create `folder` if it is missing, and set its mode and owner.

    Args:
        folder: the folder.
        mode: its permissions.
        account: its owner; None for the current user.
        group_only: whether the account only gets group access, while root stays the owner.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if account is not None:
        os.chown(folder, 0 if group_only else account.uid, account.gid)
    folder.chmod(mode)
    return folder


class ServiceDirectory:
    """The folder of one service.

    It is `folder` if `account` can reach it. Else, and only if `durable` is false, it is a temporary folder
    until `close`, to which `folder/home` points.
    """

    def __init__(self, folder: Path, account: SystemAccount | None, *, durable: bool) -> None:
        self.folder = folder.absolute()
        self.account = account
        self._durable = durable
        self._temporary: Path | None = None
        self.path = self.folder

    def open(self) -> Path:
        """Create the folder and return it.

        Raises:
            StandaloneError: the account cannot reach it, and the files must be durable.
        """
        if self._temporary is not None:
            return self.path
        self.folder.mkdir(parents=True, exist_ok=True)
        if can_reach(self.account, self.folder):
            return self.path
        if self._durable or self.account is None:
            account_name = self.account.name if self.account else "this user"
            raise StandaloneError(f"{account_name} cannot reach {self.folder}")
        self._temporary = Path(tempfile.mkdtemp(prefix="vigie-"))
        self._temporary.chmod(0o711)
        link = self.folder / "home"
        link.unlink(missing_ok=True)
        link.symlink_to(self._temporary)
        self.path = self._temporary
        return self.path

    def close(self) -> None:
        """Remove the temporary folder, if there is one."""
        if self._temporary is not None:
            (self.folder / "home").unlink(missing_ok=True)
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None
            self.path = self.folder


class PrivateService(ABC):
    """A private service, with one process; usable as a context manager.

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
        """Stop it without losing committed data."""

    @abstractmethod
    def close(self) -> None:
        """Remove temporary files."""

    @property
    def pid(self) -> int:
        """Its process id.

        Raises:
            StandaloneError: it was not started.
        """
        if self.child is None:
            raise StandaloneError(f"{self.title} is not running")
        return self.child.pid
