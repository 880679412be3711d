"""Accumulators: the chunks of a stream to the response that a plain call returns."""
