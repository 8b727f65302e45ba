"""What the tools of the MCP server say about the calls that they make."""

from collections.abc import Sequence
from typing import Any

from app.client.mcp_server import read_tools


class FullPage:
    """An API whose answer has another page."""

    def get(self, path: str, parameters: Sequence[tuple[str, str]] = ()) -> Any:  # noqa: ANN401 (JSON)
        assert path == "/v1/boxes/street-1/readings"
        assert ("limit", str(read_tools.MOST_POINTS)) in parameters
        return {"points": [{"time": "2026-11-01T00:00:00Z", "value": 1, "flags": []}], "next": "more"}


def test_a_longer_series_is_reached_by_arguments_that_the_tool_has() -> None:
    answer = read_tools.read_series(
        FullPage(), box="street-1", metric="pm2_5", begin=None, end=None, bucket=None
    )
    assert not answer["complete"]
    assert answer["notes"][-1] == (
        "There are more entries than the limit. Ask for a shorter time, or for wider buckets."
    )
