"""Prompts made from a template and the fields of a row."""

import json
import math
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from ...errors import ConfigurationError
from .items import BatchItem


class InvalidFieldsError(Exception):
    """
    A row from which a template cannot make a prompt.

    Attributes:
        custom_id: The name of the row; None if it has none.
    """

    def __init__(self, problem: str, custom_id: str | None = None) -> None:
        super().__init__(problem)
        self.custom_id = custom_id


class PromptTemplate(string.Formatter):
    """A format string that becomes the prompt of each row."""

    def __init__(self, text: str) -> None:
        """
        Check the template.

        Raises:
            ConfigurationError: If it is not a valid format string, or has a field
                without a name.
        """
        try:
            names = list(self._names(text))
        except ValueError as error:
            raise ConfigurationError(
                f"Invalid prompt template: {error}. "
                "Write a literal brace twice: '{{' or '}}'."
            ) from error
        for name in names:
            if not name or name[0].isdecimal():
                raise ConfigurationError(
                    f"Invalid prompt template: the field {{{name}}} has no name. Use "
                    "the name of a field of the rows, such as {text}."
                )
        self._text = text

    def _names(self, text: str) -> Iterator[str]:
        """Yield the names of all fields, also of those in the formats of others."""
        for _, name, form, _ in self.parse(text):
            if name is not None:
                yield name
                yield from self._names(form or "")

    def item(self, line: bytes) -> BatchItem:
        """
        Return the item of a line that is valid UTF-8.

        A line that is not an object has one field, `text`. Integers of any size are
        exact, which they would not be in the faster decoder.

        Raises:
            InvalidFieldsError: If the line is not JSON, or does not have the fields
                that the template uses.
        """
        try:
            # json.dumps and pandas write NaN for a missing value.
            value = json.loads(line, parse_constant=lambda _: None)
        except json.JSONDecodeError as error:
            problem = f": Invalid JSON: {error.msg} at character {error.pos}."
            raise InvalidFieldsError(problem) from None
        except (ValueError, RecursionError) as error:
            raise InvalidFieldsError(f": Invalid JSON: {error}.") from None
        fields = cast(
            "Mapping[str, Any]", value if isinstance(value, dict) else {"text": value}
        )
        return self.fill(fields, row_name_of(fields.get("custom_id")))

    @property
    def field_names(self) -> set[str]:
        """The names of the fields of a row that the template uses."""
        return {re.split(r"[.\[]", name)[0] for name in self._names(self._text)}

    def fill(self, fields: Mapping[str, Any], name: str | None) -> BatchItem:
        """
        Return the item of a row.

        Args:
            fields: The fields of the row.
            name: The name of the row; None if it has none.

        Raises:
            InvalidFieldsError: If the row does not have the fields that the template
                uses.
        """
        try:
            prompt = self.vformat(self._text, (), fields)
        except KeyError as error:
            problem = f" has no field {error}; the template uses it."
        except _MissingValueError as error:
            problem = (
                f" has no value in the field {str(error)!r}; the template uses it."
            )
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            problem = f" does not fit the template: {error}."
        else:
            return BatchItem(name, {"messages": [{"role": "user", "content": prompt}]})
        raise InvalidFieldsError(problem, name)

    def get_field(
        self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        """
        Return the value of a field and the name of the row's field.

        Raises:
            _MissingValueError: If the value is null or not a number.
        """
        found = super().get_field(field_name, args, kwargs)
        if _is_missing(found[0]):
            raise _MissingValueError(field_name)
        return found


class _MissingValueError(Exception):
    """A field that is null or not a number; the text is its name."""


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def row_name_of(value: object) -> str | None:
    """Return a `custom_id` of any type as text; numbers are common in tables."""
    if isinstance(value, str):
        return value
    return None if _is_missing(value) else json.dumps(value, ensure_ascii=False)
