"""Renders the configuration of the private PostgreSQL. Pure: reads nothing, writes nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

_MIB = 2**20
_GIB = 2**30

ACCESS_RULES = """\
# Written by Vigie at each start. Loopback only, with a password.
host all all 127.0.0.1/32 scram-sha-256
"""


@dataclass(frozen=True, slots=True)
class PostgresMemory:
    """Memory settings of the server, in MiB."""

    shared_buffers: int
    effective_cache_size: int
    maintenance_work_mem: int
    work_mem: int


def choose_postgres_memory(total_bytes: int) -> PostgresMemory:
    """Return memory settings that leave most of the machine's memory to other programs.

    The private server shares the machine with the broker, Vigie's processes and a developer's browser, so it
    takes an eighth, at most 2 GiB.
    """
    return PostgresMemory(
        shared_buffers=max(64, min(total_bytes // 8, 2 * _GIB) // _MIB),
        effective_cache_size=max(128, min(total_bytes // 2, 16 * _GIB) // _MIB),
        maintenance_work_mem=max(32, min(total_bytes // 32, _GIB // 2) // _MIB),
        work_mem=max(4, min(total_bytes // 512, 32 * _MIB) // _MIB),
    )


def _text(settings: Mapping[str, str]) -> str:
    lines = [f"{name} = {value}" for name, value in settings.items()]
    return "\n".join(["# Written by Vigie at each start: changes are lost.", *lines, ""])


def render_postgres_config(
    *, port: int, total_bytes: int, durable: bool, archive: Mapping[str, str] | None = None
) -> str:
    """Return the text of `postgresql.conf`.

    Args:
        port: its port on 127.0.0.1.
        total_bytes: the machine's memory.
        durable: False disables everything that survives a crash of the machine: for tests only.
        archive: Settings by which WAL is archived for backups.
    """
    memory = choose_postgres_memory(total_bytes if durable else min(total_bytes, _GIB))
    settings = {
        "listen_addresses": "'127.0.0.1'",
        "port": str(port),
        # No socket file: the path of a data directory may exceed the limit of 107 bytes.
        "unix_socket_directories": "''",
        "max_connections": "200",
        # The search for duplicates of late samples locks each chunk of the history, some with two locks.
        "max_locks_per_transaction": "256",
        "password_encryption": "'scram-sha-256'",
        # Each test opens its own connections, and each of them verifies a password.
        **({} if durable else {"scram_iterations": "1", "default_toast_compression": "'lz4'"}),
        "shared_preload_libraries": "'timescaledb'",
        "timescaledb.telemetry_level": "'off'",
        # The launcher of background workers can miss a wake-up. CREATE DATABASE then waits for its next poll,
        # by default for a minute.
        "timescaledb.bgw_launcher_poll_time": "60000" if durable else "200",
        "shared_buffers": f"'{memory.shared_buffers}MB'",
        "effective_cache_size": f"'{memory.effective_cache_size}MB'",
        "maintenance_work_mem": f"'{memory.maintenance_work_mem}MB'",
        "work_mem": f"'{memory.work_mem}MB'",
        "fsync": "on" if durable else "off",
        "synchronous_commit": "on" if durable else "off",
        "full_page_writes": "on" if durable else "off",
        "wal_level": "'replica'" if durable else "'minimal'",
        "max_wal_senders": "4" if durable else "0",
        "wal_compression": "'lz4'",
        "max_wal_size": "'2GB'" if durable else "'256MB'",
        "min_wal_size": "'256MB'" if durable else "'80MB'",
        "checkpoint_timeout": "'15min'",
        "checkpoint_completion_target": "0.9",
        "random_page_cost": "1.1",
        # Compilation would take longer than these short queries.
        "jit": "off",
        "timezone": "'UTC'",
        "log_timezone": "'UTC'",
        "datestyle": "'iso, ymd'",
        "lc_messages": "'C.UTF-8'",
        # Standard error is the log file: the supervisor opens, rotates and shows it.
        "log_destination": "'stderr'",
        "logging_collector": "off",
        "log_line_prefix": "'%m [%p] %q%u@%d '",
        # Statements are logged without parameters, and errors without rows or COPY lines, so that no log has
        # data of boxes or people.
        "log_min_duration_statement": "'2s'",
        "log_parameter_max_length": "0",
        "log_parameter_max_length_on_error": "0",
        "log_error_verbosity": "'terse'",
        "log_lock_waits": "on",
        "log_checkpoints": "on" if durable else "off",
        **(archive or {}),
    }
    return _text(settings)
