"""Writes samples as a short script would: binary COPY, NumPy, pyarrow. A reference for exports.

Run as `python -m bench.arrow_writer FORMAT DATABASE METRIC …`; the format is `parquet` or `arrow`.
"""

import asyncio
import io
import os
import sys
from collections.abc import Sequence

import asyncpg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from app.timeseries.exports.binary_rows import EPOCH_US, decode_rows

_HEADER_BYTES = 19
_ROWS_PER_GROUP = 100_000


async def write_columns(format_: str, database: str, metrics: Sequence[str]) -> int:
    """Write all samples to nowhere, in no order and with a number for each box; return how many."""
    values = ", ".join(f"coalesce({name}, 'NaN')" for name in metrics)
    copied = io.BytesIO()
    connection = await asyncpg.connect(database)
    try:
        query = f"SELECT box_key::int, time, {values} FROM samples"
        await connection.copy_from_query(query, output=copied, format="binary")
    finally:
        await connection.close()
    rows = decode_rows(copied.getbuffer()[_HEADER_BYTES:], [False] * len(metrics))
    columns = {
        "box": pa.array(rows["box"].astype(np.int32)).dictionary_encode(),
        "time": pa.array(rows["time"].astype(np.int64) + EPOCH_US).cast(pa.timestamp("us", tz="UTC")),
    }
    for number, name in enumerate(metrics):
        columns[name] = pa.array(rows[str(number)].astype(np.float32), from_pandas=True)
    table = pa.table(columns)
    if format_ == "parquet":
        pq.write_table(table, os.devnull, compression="zstd", row_group_size=_ROWS_PER_GROUP)
    else:
        with pa.ipc.new_stream(os.devnull, table.schema) as stream:
            stream.write_table(table)
    return len(rows)


if __name__ == "__main__":
    print(asyncio.run(write_columns(sys.argv[1], sys.argv[2], sys.argv[3:])))
