"""The delivery process ends when one of its tasks fails: a process without it would seem healthy."""

import asyncio

import pytest

from app.platform.db.database import Database
from app.platform.runtime.process_runner import ProcessContext
from app.processes import deliver
from app.settings import VigieSettings
from tests.roles import working_as


class TaskFailedError(Exception):
    """An error that no loop retries."""


@pytest.mark.parametrize("task", ["run_sequencer", "run_subscriptions", "run_invitation_mailer"])
async def test_an_error_of_a_task_ends_the_process(
    settings: VigieSettings, database: Database, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    async def fail(*_: object) -> None:
        raise TaskFailedError

    monkeypatch.setattr(deliver, task, fail)
    async with working_as("deliver", database) as opened:
        process = ProcessContext("deliver", opened)
        with pytest.raises(TaskFailedError):
            async with asyncio.timeout(60):
                await deliver.run_deliver(settings, process)
