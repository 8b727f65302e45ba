"""Threshold rules: their definitions and the pure evaluator."""
