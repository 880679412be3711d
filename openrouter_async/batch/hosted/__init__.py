"""Hosted batches: plan, submit, watch and collect."""
