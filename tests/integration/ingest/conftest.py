"""Edges and a log on real servers, for what reads it."""

from tests.integration.edge.conftest import (  # noqa: F401 (fixtures)
    brokers,
    cluster,
    machines,
    nats_nodes,
)
