"""What tests of erasure share: the street of those of retention."""

from tests.integration.timeseries.retention.conftest import archive

__all__ = ["archive"]
