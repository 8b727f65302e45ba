"""Encodes items of the measurement stream in the formats that other tools read. Pure.

A format encodes a batch of items as one body, and some encode a single item as one message.
"""
