"""The table of faults: what the server does, and how a call ends."""

from collections.abc import Sequence
from typing import Final

from connection_faults import CONNECTION_FAULTS
from content_faults import CONTENT_FAULTS
from fault_rows import Row
from http_faults import HTTP_FAULTS
from stream_faults import STREAM_FAULTS

ROWS: Final[Sequence[Row]] = (
    *CONNECTION_FAULTS,
    *HTTP_FAULTS,
    *CONTENT_FAULTS,
    *STREAM_FAULTS,
)
