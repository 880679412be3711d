"""
Python types -> JSON Schemas.

Pure: nothing of the rest of the package is needed here.
"""

from .build import Schema, parameters_schema, schema_of, stripped
from .docstrings import Described, describe
from .members import Member, is_pydantic, members

__all__ = [
    "Described",
    "Member",
    "Schema",
    "describe",
    "is_pydantic",
    "members",
    "parameters_schema",
    "schema_of",
    "stripped",
]
