"""Rows, results and statistics of a batch: pure data and decisions."""
