"""Exports of readings: many boxes over a span as one file, streamed with memory that does not grow.

A source says which rows there are, slices read them in order, a packing makes a file of them.
"""
