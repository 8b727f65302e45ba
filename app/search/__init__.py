"""Searches sites, boxes, alerts, rules and incidents in one call.

Each room searches its own tables; this one combines their results.
"""
