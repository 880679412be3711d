"""Typed outputs: a Python type to a JSON Schema, and JSON to a value of the type."""
