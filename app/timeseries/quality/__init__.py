"""Evaluates the quality of readings: flags doubtful samples, and applies corrections of clients.

Both are computed when samples are read. Stored samples never change.
"""
