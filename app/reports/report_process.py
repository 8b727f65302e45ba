"""Renders one report in a child process (`python -m app.reports.report_process`). Pure.

It reads a packed `ReportInput` from standard input, and writes HTML, PDF or CSV to standard output. It is a
process of its own because the rendering libraries take more memory than the rest of the API process, and
layout takes seconds of CPU time. It has no settings and no database. Before it renders texts of clients, it
gives up the network and writing files (sandbox).
"""

import os
import resource
import sys
from typing import Any, Final

MEMORY_LIMIT_BYTES: Final = 1_500_000_000
"""Limit of the address space. The largest reports take 480 MB of memory."""
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
    """An operation that a report does not need, such as network access."""


def confine_process(memory: int = MEMORY_LIMIT_BYTES, processor_s: int = CPU_LIMIT_S) -> None:
    """Restrict this process: memory, CPU time, no writing to files, no network, no other programs.

    Args:
        memory: the limit of the address space (bytes).
        processor_s: the limit of CPU time (s).
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
    """Render the report."""
    # Libraries are imported before the sandbox: their imports need the system, and do not depend on clients.
    from app.reports.render.report_csv import render_report_csv  # noqa: PLC0415 (see above)
    from app.reports.render.report_page import render_report  # noqa: PLC0415
    from app.reports.report_input import unpack_report_input  # noqa: PLC0415

    report_input = unpack_report_input(sys.stdin.buffer.read())
    if report_input.form == "pdf":
        from app.reports.render.pdf_writer import render_pdf  # noqa: PLC0415 (a second that HTML need not wait)

        confine_process()
        made = render_pdf(render_report(report_input))
    elif report_input.form == "csv":
        confine_process()
        made = render_report_csv(report_input).encode()
    else:
        confine_process()
        made = render_report(report_input).html.encode()
    sys.stdout.buffer.write(made)
    sys.stdout.buffer.flush()
    # Python would unload the libraries of the layout: a thread of Pango's that still runs would crash.
    os._exit(0)


if __name__ == "__main__":
    main()
