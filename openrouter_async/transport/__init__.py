"""Sending calls: connections, slots, timeouts and attempts, on aiohttp."""
