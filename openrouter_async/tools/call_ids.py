"""The ids of the tool calls of one run."""


class CallIds:
    """Makes the ids of calls unique in a run; providers reject repeated ones."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def add(self, received: str) -> str:
        """Return the id of a new call: the received one, unless it is "" or used."""
        call_id, number = received or f"call_{len(self._used)}", 1
        while call_id in self._used:
            number += 1
            call_id = f"{received or 'call'}_{number}"
        self._used.add(call_id)
        return call_id
