"""Runs the ingest process: the consumer, which drains the broker or the replicated log into the database."""

import gc

from app import all_metrics  # noqa: F401 (the process exports all metrics)
from app.ingest.broker_input import BrokerInput
from app.ingest.consumer import IngestConsumer
from app.ingest.consumer_input import ConsumerInput
from app.ingest.log_input import LogInput
from app.message_log.message_log_factory import make_message_log
from app.platform.runtime.process_runner import ProcessContext
from app.settings import VigieSettings

# A batch creates some 100,000 containers without cycles, and frees them all. With Python's default threshold
# of 2,000 the collector took a third of the process's time.
_GC_THRESHOLD = 200_000


def tune_garbage_collector() -> None:
    """Tune Python's garbage collector for a process that only ingests."""
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 10, 10)


async def run_ingest(settings: VigieSettings, process: ProcessContext) -> None:
    """Run `vigie ingest` until a stop request."""
    tune_garbage_collector()

    def make_input() -> ConsumerInput:
        if settings.message_log.engine == "none":
            return BrokerInput(settings.ingest, settings.broker)
        log = make_message_log(settings.message_log)
        return LogInput(log, settings.message_log, settings.ingest, settings.broker)

    consumer = IngestConsumer(
        process, settings.ingest, make_input, samples_per_day=settings.quotas.samples_per_day
    )
    await consumer.run()
