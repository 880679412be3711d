"""Decisions about requests and responses: no I/O, no clock, no asyncio."""
