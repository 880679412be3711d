"""
Typed values of what a model writes.

A type becomes the schema that is asked for; the JSON that comes back becomes a value of
it, or an error that says where it does not fit.
"""

from .arguments import Parameters, read_arguments
from .convert import Converter, converter
from .reading import Reader, reader_of
from .reply import ParsedResponse
from .request import ask_for, json_schema_format

__all__ = [
    "Converter",
    "Parameters",
    "ParsedResponse",
    "Reader",
    "ask_for",
    "converter",
    "json_schema_format",
    "read_arguments",
    "reader_of",
]
