"""Exports readings of many boxes as one file, streamed with bounded memory.

A source defines the rows, slices read them in order, and a format turns them into bytes.
"""
