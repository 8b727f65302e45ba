"""The life of an alert, from firing to resolved."""
