"""Lists the requirement classes of the standard that the service fulfils.

`docs/sensorthings.md` names the test of each.
"""

from typing import Final

_SPEC: Final = "http://www.opengis.net/spec/iot_sensing/1.1/req/"
_CLASSES: Final = (
    "datamodel",
    *(
        f"datamodel/{name}"
        for name in (
            *("thing", "location", "historical-location", "datastream", "sensor"),
            *("observed-property", "observation", "feature-of-interest", "entity-control-information"),
        )
    ),
    *("resource-path", "resource-path/resource-path-to-entities"),
    "request-data",
    *(
        f"request-data/{name}"
        for name in (
            *("order", "expand", "select", "status-code", "query-status-code", "orderby", "top", "skip"),
            *("count", "filter", "built-in-filter-operations", "built-in-query-functions", "pagination"),
        )
    ),
    "data-array/data-array",
)
CONFORMANCE: Final = tuple(_SPEC + name for name in _CLASSES)
"""The addresses of the requirement classes."""
