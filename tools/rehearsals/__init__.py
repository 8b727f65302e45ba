"""Scripted trials of operations on real parts. Each prints its steps and exits 1 on failure."""
