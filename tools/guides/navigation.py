"""Defines the navigation of the guides: one group for each kind of reader.

A folder shows the pages that are named here first, then its other pages. A page outside these folders that no
group names fails the build ("document isn't included in any toctree").
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class ReaderGroup:
    """The pages for one kind of reader.

    Attributes:
        title: The heading in the navigation.
        pages: The names of the pages; `FOLDER/index` stands for a whole folder.
    """

    title: str
    pages: tuple[str, ...]


READER_GROUPS: Final = (
    ReaderGroup("Start", ("readme", "concepts", "glossary")),
    ReaderGroup("Box makers", ("boxes", "adapters", "bad-input")),
    ReaderGroup(
        "Client developers",
        (
            "api",
            "reference/index",
            "series",
            "quality",
            "exports",
            "webhooks",
            "event-formats",
            "event-stream",
            "measurement-stream",
            "mqtt-alerts",
            "measurement-subscriptions",
            "sensorthings",
            "ogc-api",
            "ngsi-ld",
            "cli",
            "client-packages",
            "mcp",
        ),
    ),
    ReaderGroup(
        "Operators",
        (
            "console",
            "rules",
            "presets",
            "indices",
            "alerts",
            "incidents",
            "channels",
            "email",
            "reports",
            "people",
        ),
    ),
    ReaderGroup(
        "Administrators",
        ("operations/index", "runbooks/index", "quotas", "faults", "performance", "scale"),
    ),
    ReaderGroup(
        "Citizens and data protection",
        (
            "register",
            "purposes",
            "privacy",
            "retention",
            "rights",
            "grants",
            "data-act",
            "dpia",
            "security",
            "security-policy",
            "audit",
        ),
    ),
    ReaderGroup(
        "Engineers",
        (
            "architecture",
            "walkthroughs/index",
            "decisions/index",
            "contributing",
            "acoustics",
            "acoustic-sources",
            "changelog",
        ),
    ),
)

# Titles in the navigation, where a page has another heading.
SHORT_TITLES: Final[Mapping[str, str]] = MappingProxyType({"readme": "Quick start"})
# The first pages of each folder, in their order; those that do not exist are left out.
FIRST_PAGES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "operations": (
            "installing",
            "server",
            "containers",
            "process-roles",
            "own-services",
            "database-roles",
            "failover",
            "cluster",
            "cluster-runbooks",
            "tls-listener",
            "internet",
            "settings",
            "insecure-settings",
            "secrets",
            "capacity",
            "data-directory",
            "backups",
            "upgrades",
            "monitoring",
            "metrics",
            "logs-and-health",
            "troubleshooting",
        ),
        "walkthroughs": ("message-to-webhook",),
        "decisions": (),
        "runbooks": (),
        "reference": (),
    }
)
