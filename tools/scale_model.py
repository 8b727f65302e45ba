"""Models what the parts of a cluster use: at rest, for each record of the message log and each message. Pure.

A batch of an edge closes some milliseconds after its first message, and makes a record in each partition that
it touches: few messages a second mean many small records, which ingest commits in small transactions. The
costs are fitted to runs of `bench.cluster_load` with the records that were counted. On machines that answer
at once, a batch takes no longer than its delay: `ClusterShape.count_records` returns the most records that
there can be.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from scipy.optimize import nnls

CHECK_RATE: Final = 1_000.0
"""The run that is not fitted, but compared with the model (messages a second)."""

WITH_RECORDS: Final = frozenset(
    ("haproxy", "mosquitto", "edge", "nats", "ingest", "postgres-primary", "postgres-standby")
)
"""The parts whose CPU grows with the records of the message log, beside messages."""


@dataclass(frozen=True, slots=True)
class ClusterShape:
    """The processes of a cluster, which decide the number of batches.

    Attributes:
        edges: Brokers, each with its edge.
        workers: Ingest processes.
        partitions: Partitions of the message log.
        batch_delay_s: How long a batch waits for more messages.
    """

    edges: int
    workers: int
    partitions: int
    batch_delay_s: float

    def count_records(self, rate: float) -> float:
        """Return the most records of the message log a second at a rate.

        An edge waits for a first message, and then for more. A batch makes a record in each partition that it
        touches.
        """
        if not rate:
            return 0.0
        batches = 1.0 / (self.batch_delay_s + self.edges / rate)
        messages = rate / self.edges / batches
        touched = self.partitions * (1.0 - (1.0 - 1.0 / self.partitions) ** messages)
        return float(self.edges * batches * touched)


@dataclass(frozen=True, slots=True)
class PartCost:
    """The usage of a part, in its unit: CPU seconds a second, or bytes a second.

    Attributes:
        at_rest: Without messages.
        record: For each record of the message log.
        message: For each message.
    """

    at_rest: float
    record: float
    message: float

    def compute(self, rate: float, records: float) -> float:
        """Return the use at a rate, with so many records a second."""
        return self.at_rest + self.record * records + self.message * rate


def fit_part(
    points: Sequence[tuple[float, float, float]], *, at_rest: float | None = None, least: float = 0.0
) -> PartCost:
    """Fit the costs to measured points by least squares; no cost is negative.

    Args:
        points: (records a second, messages a second, use).
        at_rest: The use without messages. None for a part that records cost nothing: it is fitted too.
        least: The least cost of a message: what it costs in full batches.
    """
    used = [use - least * rate for _, rate, use in points]
    if at_rest is None:
        (at_rest, message), _ = nnls([(1.0, rate) for _, rate, _ in points], used)
        return PartCost(float(at_rest), 0.0, least + float(message))
    matrix = [(records, rate) for records, rate, _ in points]
    (record, message), _ = nnls(matrix, [use - at_rest for use in used])
    return PartCost(at_rest, float(record), least + float(message))
