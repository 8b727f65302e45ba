"""Serves NGSI-LD: entities of the Smart Data Models, and subscriptions to them."""
