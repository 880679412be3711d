"""Bodies of the routes of hosted batches: batches, pages of results, and rows."""

from collections.abc import Mapping
from typing import Any, Final

from ..errors import APIError, MalformedResponseError, OpenRouterError
from ..types import ChatResponse, Exchange
from ..types.hosted import Batch
from .decode import as_object, decode
from .error_parsing import error_from_body, find_error
from .response_objects import read_object, read_response

# Types of OpenAI's errors, for rows without OpenRouter's own `error_type`.
_TYPE_STATUS: Final[Mapping[str, int]] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "api_error": 500,
    "overloaded_error": 503,
}


def read_batch_json(body: bytes, http: Exchange, wall_time: float) -> dict[str, Any]:
    """
    Return the JSON object in the body of a response.

    The `error` of a batch that failed is part of the object.

    Raises:
        MalformedResponseError: If it is not a JSON object.
        APIError: If it is an error instead.
    """
    value = decode(body)
    if value.__class__ is not dict:
        raise MalformedResponseError(
            f"The body must be a JSON object, not {type(value).__name__}.", http=http
        )
    if value.get("error") and "id" not in value:
        raise error_from_body(value, http, wall_time=wall_time)
    fields: dict[str, Any] = value
    return fields


def read_batch(body: bytes, http: Exchange, wall_time: float) -> Batch:
    """
    Return the batch in the body of a response.

    Raises:
        MalformedResponseError: If it is not a batch.
        APIError: If it is an error instead.
    """
    batch = batch_of(read_batch_json(body, http, wall_time))
    batch.http = http
    if not batch.id:
        raise MalformedResponseError("The batch has no id.", http=http)
    return batch


def batch_of(raw: dict[str, Any]) -> Batch:
    """Return the batch in a JSON object. Never raises."""
    return read_object(Batch, raw)


def read_row(raw: Mapping[str, Any]) -> ChatResponse | OpenRouterError:
    """
    Return the response in the result of one row, or the error that a call would raise.

    The cases, of which the first that applies decides:

    1. `error`: its class is chosen by `error_type`, else by OpenAI's `type`.
    2. A status outside 2XX; the body may be JSON text.
    3. A response with an error inside.
    4. A response without choices is malformed.
    """
    found = raw.get("response")
    http = Exchange()
    error = as_object(raw.get("error"))
    if error:
        http.status = 200
        status = _TYPE_STATUS.get(str(error.get("type")))
        if status is not None and "error_type" not in error:
            error = {"code": status, **error}
        return error_from_body({"error": error}, http, wall_time=0.0, error=error)
    fields = as_object(found)
    status_code = fields.get("status_code")
    http.status = status_code if status_code.__class__ is int else 200
    body = _body(fields.get("body"))
    if http.status != 200:
        return error_from_body(body, http, wall_time=0.0)
    response = read_response(as_object(body), http)
    http.generation_id = response.id
    inner = find_error(response.raw)
    if inner is not None:
        partial = response if response.choices else None
        return error_from_body(
            response.raw, http, wall_time=0.0, error=inner, partial=partial
        )
    if not response.choices:
        return MalformedResponseError(
            "The result of the row has no choices.", http=http
        )
    return response


def objects_in(value: Any) -> list[dict[str, Any]]:
    """Return the objects in a JSON array; anything else is left out."""
    members: list[Any] = value if value.__class__ is list else []
    return [member for member in members if member.__class__ is dict]


def _body(value: Any) -> Any:
    """Return a body; decoded if it is JSON text."""
    if value.__class__ is not str:
        return value
    try:
        return decode(value)
    except MalformedResponseError:
        return value


def is_missing_variant(error: APIError) -> bool:
    """Return True if a submission was rejected because the model has no batches."""
    return error.status_code == 400 and ":batch endpoint" in error.message
