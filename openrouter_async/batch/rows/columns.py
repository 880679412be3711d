"""Columns: rows made from the columns of a table, and results as further columns."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, cast

from attrs import frozen

from ...errors import APIError, ConfigurationError, MalformedResponseError
from ...protocol.decode import decode_finite
from ...protocol.encode import encode
from ...structured.converter import converter
from .items import InvalidLine, Item
from .results import BatchResult
from .template import InvalidFieldsError, PromptTemplate, row_name_of

ColumnType = Literal["string", "int64", "float64"]

NOT_SENT: Final = "NotSent"
"""The `error_type` of a row that was not sent, because the budget is exhausted."""

COLUMNS: Final[Mapping[str, ColumnType]] = {
    "response": "string",
    "finish_reason": "string",
    "model": "string",
    "provider": "string",
    "generation_id": "string",
    "prompt_tokens": "int64",
    "completion_tokens": "int64",
    "cost": "float64",
    "attempts": "int64",
    "seconds": "float64",
    "error_type": "string",
    "error_status": "int64",
    "error": "string",
}
"""The columns of every result, and their types."""

OUTPUT_COLUMN: Final = "output"
RAW_COLUMN: Final = "raw"


@frozen
class RowColumns:
    """
    The columns of which requests are made.

    One of the first three is set.

    Attributes:
        prompt: A template of the prompt, with the names of columns.
        messages: A column of lists of messages, or of their JSON.
        body: A column of requests, or of their JSON.
        custom_id: A column of names; None: each row is named by its request.
        has_output: If True, results have the column `output`.
        has_raw: If True, results have the column `raw`.
    """

    prompt: str | None = None
    messages: str | None = None
    body: str | None = None
    custom_id: str | None = None
    has_output: bool = False
    has_raw: bool = False

    def __attrs_post_init__(self) -> None:
        given = [c for c in (self.prompt, self.messages, self.body) if c is not None]
        if len(given) != 1:
            raise ConfigurationError(
                "Pass one of prompt=, messages= and body=: the request of each row is "
                "made of it."
            )

    @property
    def result_columns(self) -> dict[str, ColumnType]:
        """The columns that results have, and their types."""
        columns = dict(COLUMNS)
        if self.has_output:
            columns[OUTPUT_COLUMN] = "string"
        if self.has_raw:
            columns[RAW_COLUMN] = "string"
        return columns

    @property
    def needed(self) -> set[str]:
        """The columns that are read."""
        names = {self.messages, self.body, self.custom_id} - {None}
        found = cast("set[str]", names)
        if self.prompt is not None:
            found |= PromptTemplate(self.prompt).field_names
        return found

    def check(self, names: Iterable[str]) -> None:
        """
        Check the columns of a table.

        Raises:
            ConfigurationError: If one is missing, or has the name of a result column.
        """
        present = set(names)
        missing = sorted(self.needed - present)
        if missing:
            raise ConfigurationError(
                f"The dataset has no column {missing[0]!r}; its columns: "
                f"{', '.join(sorted(present))}."
            )
        taken = sorted(self.result_columns.keys() & present)
        if taken:
            raise ConfigurationError(
                f"The dataset has a column {taken[0]!r}, and so have the results. "
                f"Rename it first: ds.rename_columns({{{taken[0]!r}: ...}})."
            )

    def reader(self) -> Callable[[Mapping[str, Any]], Item | InvalidLine]:
        """Return the function that makes an item of a row of the table."""
        template = None if self.prompt is None else PromptTemplate(self.prompt)
        messages, body, custom_id = self.messages, self.body, self.custom_id

        def read(row: Mapping[str, Any]) -> Item | InvalidLine:
            name = None if custom_id is None else row_name_of(row[custom_id])
            try:
                if template is not None:
                    return _named(name, template.fill(row, name).body)
                if messages is not None:
                    return _named(name, {"messages": _value(row[messages], messages)})
                assert body is not None
                return _named(name, _value(row[body], body))
            except InvalidFieldsError as error:
                label = "A row" if name is None else f"Row {name!r}"
                problem = ConfigurationError(f"{label}{error}")
                return InvalidLine(repr(row), problem, name)

        return read


def _named(name: str | None, body: Any) -> Item:
    return {"custom_id": name, "body": body}


def _value(value: Any, column: str) -> Any:
    """
    Return the value of a column of messages or requests.

    Raises:
        InvalidFieldsError: If it is a text that is not JSON, or null.
    """
    if value is None:
        raise InvalidFieldsError(f" has no value in the column {column!r}.")
    if not isinstance(value, str):
        return _without_nulls(value)
    try:
        return decode_finite(value)
    except MalformedResponseError as error:
        raise InvalidFieldsError(f", column {column!r}: {error.message}") from None


def _without_nulls(value: Any) -> Any:
    """
    Remove members of objects that are null.

    All structs of a column have the same fields; those that a row does not set are
    null.
    """
    if isinstance(value, Mapping):
        members = cast("Mapping[str, Any]", value).items()
        return {k: _without_nulls(v) for k, v in members if v is not None}
    if isinstance(value, list):
        return [_without_nulls(member) for member in cast("Sequence[Any]", value)]
    return value


def result_columns(
    results: Sequence[BatchResult | None], columns: RowColumns
) -> dict[str, list[Any]]:
    """
    Return the result columns of some rows.

    No value is null: the type of a column that is null in a whole block is lost. What
    is absent is "" or 0; the cost is NaN if the server did not report it.

    Args:
        results: The results in the order of the rows; None for one that was not sent.
        columns: The columns to make.
    """
    rows = [_not_sent() if r is None else _values(r, columns) for r in results]
    return {name: [row[name] for row in rows] for name in columns.result_columns}


_EMPTY: Final[Mapping[str, Any]] = {
    **{name: "" if kind == "string" else 0 for name, kind in COLUMNS.items()},
    "cost": 0.0,
    "seconds": 0.0,
    OUTPUT_COLUMN: "",
    RAW_COLUMN: "",
}


def _not_sent() -> dict[str, Any]:
    problem = "The budget of the run is exhausted."
    return {**_EMPTY, "error_type": NOT_SENT, "error": problem}


def _values(result: BatchResult, columns: RowColumns) -> dict[str, Any]:
    values = dict(_EMPTY)
    values["attempts"], values["seconds"] = result.attempts, result.latency
    if result.usage is not None:
        values["prompt_tokens"] = result.usage.prompt_tokens or 0
        values["completion_tokens"] = result.usage.completion_tokens or 0
    error, response = result.error, result.response
    if error is not None:
        values["error_type"], values["error"] = type(error).__name__, str(error)
        if isinstance(error, APIError):
            values["error_status"] = error.status_code
        values["cost"] = result.cost or 0.0
        response = error.partial
    else:
        values["cost"] = float("nan") if result.cost is None else result.cost
    if response is not None:
        values["response"] = response.text
        values["finish_reason"] = response.finish_reason or ""
        values["model"] = response.model or ""
        values["provider"] = response.provider or ""
        values["generation_id"] = response.http.generation_id or response.id or ""
        if columns.has_raw:
            values[RAW_COLUMN] = encode(response.raw).decode()
    if columns.has_output and error is None:
        values[OUTPUT_COLUMN] = encode(converter.unstructure(result.output)).decode()
    return values
