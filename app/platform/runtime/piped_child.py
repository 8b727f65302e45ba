"""Starts child processes with pipes from a process that has much memory.

asyncio's own way copies the process's page tables with uvloop: 20 ms in which nothing else runs, for 250 MB,
and each page costs again when it is written next. `subprocess` starts children by vfork, in half a
millisecond.
"""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple


class PipedChild(NamedTuple):
    """A running child process.

    Attributes:
        pid: its process id.
        stdin: writes to its standard input.
        stdout: reads from its standard output.
    """

    pid: int
    stdin: asyncio.StreamWriter
    stdout: asyncio.StreamReader


@asynccontextmanager
async def run_piped_child(
    command: Sequence[str], environment: Mapping[str, str]
) -> AsyncIterator[PipedChild]:
    """Run a child process during a block; kills it at the end if it still runs.

    Its standard error is this process's.
    """
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, bufsize=0, stdin=pipe, stdout=pipe, env=environment)  # noqa: S603, ASYNC220 (see the module's docstring)
    loop = asyncio.get_running_loop()
    stdout = asyncio.StreamReader()
    try:
        reading, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stdout), process.stdout
        )
        writing, protocol = await loop.connect_write_pipe(
            lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), process.stdin
        )
        try:
            yield PipedChild(process.pid, asyncio.StreamWriter(writing, protocol, None, loop), stdout)
        finally:
            writing.close()
            reading.close()
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)
