"""Chunks of a stream, combined into the response that a plain call returns."""
