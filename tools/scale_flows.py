"""Computes the bytes that flow between the machines of a cluster. Pure.

Those of boxes follow from the formats of their messages. What the message log and PostgreSQL add of their own
is fitted to the runs of `bench.cluster_load`.
"""

from collections.abc import Mapping
from typing import Final

from app.ingest.ack_publisher import build_ack_messages
from app.ingest.pipeline.batch_receipt import BoxAck
from app.message_log.log_records import LogRecord, encode_record
from bench.load import MessageLoad, box_id, topic, vigie_message
from bench.publisher import encode_publish
from tools.scale_model import PartCost

_MANY: Final = 200
_PUBACK: Final = 4
_PACKET_ID: Final = 2
# A box in the middle of a year, so that numbers and times have their usual length.
_START_MS: Final = 1_780_000_000_000
_FOLLOWERS: Final = 2

FITTED_FLOWS: Final = ("log", "log-replication", "wal")
"""Bytes written to the disk of one node of the log, sent between its nodes, and written by the primary."""


def compute_least_flows() -> Mapping[str, float]:
    """Compute the least bytes of a message, by fitted flow: its share of a record with many messages."""
    log = _encode_many(_MANY)[2]
    return {"log": log, "log-replication": _FOLLOWERS * log, "wal": 0.0}


def compute_flows(fitted: Mapping[str, PartCost], stored_bytes: float) -> Mapping[str, PartCost]:
    """Compute bytes a second for each record and message, by flow.

    Args:
        fitted: FITTED_FLOWS, measured.
        stored_bytes: Disk of a message in the database.
    """
    topics, payloads, _ = _encode_many(1)
    # Boxes subscribe to `ack` at QoS 0: without a packet id.
    (ack,) = build_ack_messages(box_id(0), BoxAck(seqs=[0]))
    down = len(encode_publish(*ack, 1)) - _PACKET_ID + _PUBACK
    up = len(encode_publish(topics[0], payloads[0], 1))
    log = fitted["log"]
    return {
        "mqtt-in": PartCost(0.0, 0.0, up),
        "mqtt-out": PartCost(0.0, 0.0, down),
        **fitted,
        # haproxy to its broker and back, an edge to the log, the log to a worker, a worker to the database.
        "internal": PartCost(0.0, 2 * log.record, up + down + 2 * log.message + stored_bytes),
    }


def _encode_many(count: int) -> tuple[list[str], list[bytes], float]:
    """Return topics and payloads of messages, and the bytes that one takes in a record of all of them."""
    samples = list(MessageLoad(count, count, _START_MS).samples())
    topics, payloads = [topic(each.box) for each in samples], list(map(vigie_message, samples))
    record = encode_record(LogRecord("machine1", _START_MS / 1_000, topics, payloads))
    return topics, payloads, len(record) / count
