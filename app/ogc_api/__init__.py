"""Serves OGC API Features and EDR: places and boxes as features, measurements as coverages."""
