"""Declares the Prometheus counters of boxes enrolled without an API key, refused data and exceeded quotas."""

from app.platform.observability.metric_types import Counter

BOXES_ENROLLED = Counter("vigie_boxes_enrolled_total", "Boxes registered without an API key", ["by"])
DOOR_REFUSALS = Counter(
    "vigie_door_refusals_total",
    "Input refused for its purpose or content, and stored nowhere: by MQTT, HTTP and REST",
    ["door", "code"],
)
QUOTA_REFUSED = Counter(
    "vigie_quota_refused_total", "Refusals because the organisation's quota is used up", ["quota"]
)
