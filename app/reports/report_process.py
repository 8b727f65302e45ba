"""`python -m app.reports.report_process`: makes one report for its parent. Pure.

A process of its own, as what it renders with takes more memory than all else that the API process imports,
and as layout takes seconds of a processor. Reads packed material (`material`) on its standard input, writes
HTML or PDF on its standard output. Knows neither settings nor database, and needs neither the network nor
files of its own: it gives up both before it lays anything out that clients wrote.
"""

import os
import resource
import sys
from typing import Any, Final

MEMORY_LIMIT_BYTES: Final = 1_500_000_000
"""Of addresses: it takes 480 MB of memory for the largest reports."""
CPU_LIMIT_S: Final = 35
_NICER: Final = 5
_REFUSED: Final = (
    "socket.",
    "urllib.",
    "subprocess.",
    "os.exec",
    "os.posix_spawn",
    "os.system",
    "ftplib.",
    "ctypes.dlopen",
)
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC


class SandboxViolationError(Exception):
    """What a report has no use for was tried."""


def confine_process(memory: int = MEMORY_LIMIT_BYTES, processor_s: int = CPU_LIMIT_S) -> None:
    """Give up what is not needed: further memory and time, formatter files, the network, other programs.

    Args:
        memory: the most bytes of addresses.
        processor_s: the most seconds of the processor.
    """
    os.nice(_NICER)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (processor_s, processor_s))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def refuse(event: str, details: tuple[Any, ...]) -> None:
        if event.startswith(_REFUSED) or (event == "open" and details[2] & _WRITING):
            raise SandboxViolationError(event)

    sys.addaudithook(refuse)


def main() -> None:
    """Make the report."""
    # Libraries are loaded first: what they need of the system is no matter of what clients wrote.
    from app.reports.render.report_page import render_report  # noqa: PLC0415 (after this process's own beginning)
    from app.reports.report_input import unpack_report_input  # noqa: PLC0415

    material = unpack_report_input(sys.stdin.buffer.read())
    if material.form == "pdf":
        from app.reports.render.pdf_writer import render_pdf  # noqa: PLC0415 (a second that HTML need not wait)

        confine_process()
        made = render_pdf(render_report(material))
    else:
        confine_process()
        made = render_report(material).html.encode()
    sys.stdout.buffer.write(made)


if __name__ == "__main__":
    main()
