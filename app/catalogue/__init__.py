"""Lists, as data, what Vigie knows: metrics, units, event types, purposes, acoustic sources."""
