"""Implements a reference box, which follows docs/boxes.md so that no sample is lost.

It has a persistent queue, resends with back-off, and processes acknowledgements. The caller's `publish`
sends the messages.

1. A sample is in the queue until an acknowledgement names its `seq`.
2. Messages contain the oldest samples, one message at a time. Samples that no acknowledgement names in time
   are sent again.
3. Samples in `rejected` are given up: they move to the dead-letter file, since they would be refused again.
4. A message in `refused`, found by its SHA-256, is never sent again. Its samples that are in no other list
   are sent once more, one per message; a sample that is refused again is given up.
"""

import asyncio
import hashlib
import json
import random
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

SamplePayload = dict[str, Any]
EncodeMessage = Callable[[Sequence[SamplePayload]], bytes]
PublishMessage = Callable[[bytes], Awaitable[None]]

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS queue
    (seq INTEGER PRIMARY KEY, sample TEXT NOT NULL, alone INTEGER NOT NULL DEFAULT 0)
"""
_REMEMBERED: Final = 100
_LATER: Final = frozenset({"too_many_samples"})
"""Codes that do not depend on the sample: it is sent again, in another message."""


def encode_samples(samples: Sequence[SamplePayload]) -> bytes:
    """Encode a message: one sample, or a batch."""
    # json.dumps writes NaN for a value that is not a number: invalid JSON, and a common fault of boxes.
    return json.dumps(samples[0] if len(samples) == 1 else {"samples": list(samples)}).encode()


class SampleQueue:
    """A persistent queue of unacknowledged samples, with a file of dead letters.

    Args:
        folder: The folder of the files `queue.sqlite` and `dead-letters.jsonl`.

    Attributes:
        given_up: Number of samples that this run gave up, by code.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.dead_letters = folder / "dead-letters.jsonl"
        self.given_up: Counter[str] = Counter()
        self._database = sqlite3.connect(folder / "queue.sqlite", isolation_level=None)
        self._database.execute(_SCHEMA)

    def __len__(self) -> int:
        return int(self._database.execute("SELECT count(*) FROM queue").fetchone()[0])

    def close(self) -> None:
        """Close the file; the next run continues with its samples."""
        self._database.close()

    def add(self, sample: SamplePayload) -> None:
        """Store a sample until it is forgotten or given up."""
        self._database.execute(
            "INSERT INTO queue (seq, sample) VALUES (?, ?)", (sample["seq"], json.dumps(sample))
        )

    def take_oldest(self, limit: int) -> list[SamplePayload]:
        """Return the oldest samples; a sample that needs a message of its own comes alone."""
        query = "SELECT sample, alone FROM queue ORDER BY seq LIMIT ?"
        rows = self._database.execute(query, (limit,)).fetchall()
        until = next((index for index, (_, alone) in enumerate(rows) if alone), len(rows))
        return [json.loads(sample) for sample, _ in rows[: max(until, 1)]]

    def remaining(self, seqs: Iterable[int]) -> list[int]:
        """Return the numbers of those samples that are still in the queue."""
        found = (self._database.execute("SELECT seq FROM queue WHERE seq = ?", (seq,)) for seq in seqs)
        return [seq for rows in found for (seq,) in rows]

    def isolate(self, seqs: Iterable[int]) -> None:
        """Mark samples to be sent in a message of their own."""
        self._database.executemany("UPDATE queue SET alone = 1 WHERE seq = ?", ((seq,) for seq in seqs))

    def forget(self, seqs: Iterable[int]) -> None:
        """Delete samples that the server has stored."""
        self._database.executemany("DELETE FROM queue WHERE seq = ?", ((seq,) for seq in seqs))

    def give_up(self, seq: int, code: str) -> None:
        """Move a sample to the dead letters. It is written there first, so that a crash does not lose it."""
        row = self._database.execute("SELECT sample FROM queue WHERE seq = ?", (seq,)).fetchone()
        if row is not None:
            with self.dead_letters.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"code": code, "sample": json.loads(row[0])}) + "\n")
            self.forget([seq])
            self.given_up[code] += 1


class ReferenceBox:
    """Sends the samples of a queue until each is stored or given up.

    Args:
        queue: The samples.
        publish: Sends one message to `vigie/v1/{box}/telemetry`; returns once the broker has it.
        batch: Samples in a message, 1,000 at most.
        patience_s: Time until unacknowledged samples are sent again (seconds); doubled each time.
        longest_s: The longest wait (seconds).
        encode: Encodes a message.
    """

    def __init__(
        self,
        queue: SampleQueue,
        publish: PublishMessage,
        *,
        batch: int = 60,
        patience_s: float = 60.0,
        longest_s: float = 600.0,
        encode: EncodeMessage = encode_samples,
    ) -> None:
        self._queue = queue
        self._publish = publish
        self._batch = batch
        self._patience_s = patience_s
        self._longest_s = longest_s
        self._encode = encode
        self._sent: dict[str, list[int]] = {}
        self._awaited: set[int] = set()
        self._answered = asyncio.Event()
        self._more = asyncio.Event()
        self._idle = asyncio.Event()
        self.messages = 0

    def add(self, sample: SamplePayload) -> None:
        """Add a sample with its `seq`."""
        self._queue.add(sample)
        self._idle.clear()
        self._more.set()

    def receive(self, _topic: str, payload: bytes) -> None:
        """Process an acknowledgement from `vigie/v1/{box}/ack`."""
        ack = json.loads(payload)
        stored = ack.get("seqs", [])
        self._queue.forget(stored)
        self._awaited.difference_update(stored)
        for entry in ack.get("rejected", []):
            if entry.get("kind") != "event":
                self._reject(entry["seq"], entry["code"])
        for entry in ack.get("refused", []):
            self._give_up_message(entry["sha256"], entry["code"])
        if not self._awaited:
            self._answered.set()

    def _reject(self, seq: int, code: str) -> None:
        if code not in _LATER:
            self._queue.give_up(seq, code)
        self._awaited.discard(seq)

    def _give_up_message(self, digest: str, code: str) -> None:
        seqs = self._sent.pop(digest, [])
        left = self._queue.remaining(seqs)
        if len(seqs) == 1:
            for seq in left:
                self._queue.give_up(seq, code)
        else:
            self._queue.isolate(left)
        self._awaited.difference_update(seqs)

    async def run(self) -> None:
        """Send, oldest first, until cancelled."""
        wait = self._patience_s
        while True:
            samples = self._queue.take_oldest(self._batch)
            if not samples:
                self._more.clear()
                self._idle.set()
                await self._more.wait()
                continue
            wait = self._patience_s if await self._send(samples, wait) else min(wait * 2, self._longest_s)

    async def drain(self) -> None:
        """Wait until all added samples are stored or given up."""
        await self._idle.wait()

    async def _send(self, samples: Sequence[SamplePayload], wait_s: float) -> bool:
        """Send one message, and tell whether all its samples were acknowledged in time."""
        payload, seqs = self._encode(samples), [int(sample["seq"]) for sample in samples]
        # Recorded before publishing, since the acknowledgement may come first.
        self._sent[hashlib.sha256(payload).hexdigest()] = seqs
        while len(self._sent) > _REMEMBERED:
            del self._sent[next(iter(self._sent))]
        self._awaited = set(seqs)
        self._answered.clear()
        await self._publish(payload)
        self.messages += 1
        try:
            async with asyncio.timeout(wait_s * random.uniform(0.8, 1.2)):
                await self._answered.wait()
        except TimeoutError:
            return False
        return True
