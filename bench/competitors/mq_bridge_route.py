"""(f) mq-bridge: MQTT to the same wide table by its COPY path, 4,096 messages a batch.

It looks up nothing and unfolds nothing: its messages are flat, their fields are the table's columns.
"""

import logging
import signal
import threading
from urllib.parse import urlsplit

import mq_bridge
from mq_bridge import Route

from bench.competitors.task import CompetitorTask
from bench.load import METRICS

_BATCH = 4_096
_COLUMNS = ("box_key", "time", "seq", *METRICS)


def configuration(task: CompetitorTask) -> dict[str, object]:
    """Build the route in the schema of mq-bridge."""
    listed = ", ".join(f'"{name}"' for name in _COLUMNS)
    tokens = ", ".join(f"${{payload:{name}}}" for name in _COLUMNS)
    database = urlsplit(task.database)
    return {
        "input": {
            "mqtt": {
                "url": f"tcp://{task.host}:{task.port}",
                "topic": task.filter,
                "username": task.username,
                "password": task.password,
                "client_id": task.client_id,
                "clean_session": False,
                "session_expiry_interval": 3_600,
                "qos": 1,
                "max_inflight": 20_000,
                "queue_capacity": 20_000,
            }
        },
        "output": {
            "sqlx": {
                "url": database.geturl(),
                "table": "samples",
                "insert_query": f"INSERT INTO samples ({listed}) VALUES ({tokens})",
                "bulk_copy": True,
            }
        },
        "batch_size": _BATCH,
    }


def drain(task: CompetitorTask) -> None:
    """Run the route until SIGTERM."""
    logging.basicConfig(level=logging.WARNING)
    mq_bridge.init_logging("warn")
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    with Route.from_config(configuration(task)):
        told.wait()


if __name__ == "__main__":
    drain(CompetitorTask.given())
