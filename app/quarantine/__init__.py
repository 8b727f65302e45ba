"""Stores refused messages with their rejection code, and lists them for replay."""
