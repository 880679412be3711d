"""The status of an error body, by which the class of the exception is chosen."""

import re
from collections.abc import Mapping
from typing import Any, Final

from ..types import Exchange
from .decode import as_object

_ERROR_TYPE_STATUS: Final[Mapping[str, int]] = {
    **dict.fromkeys(
        (
            "context_length_exceeded",
            "max_tokens_exceeded",
            "token_limit_exceeded",
            "string_too_long",
            "invalid_request",
            "invalid_prompt",
            "content_policy_violation",
            "refusal",
            "invalid_image",
            "image_too_large",
            "image_too_small",
            "unsupported_image_format",
            "image_download_failed",
        ),
        400,
    ),
    "authentication": 401,
    "payment_required": 402,
    "permission_denied": 403,
    "not_found": 404,
    "image_not_found": 404,
    "precondition_failed": 412,
    "payload_too_large": 413,
    "unprocessable": 422,
    "rate_limit_exceeded": 429,
    "server": 500,
    "unmapped": 500,
    "provider_unavailable": 502,
    "provider_overloaded": 503,
    "timeout": 504,
}
"""The status of each `error_type`. Source: the specification's ApiErrorType."""

_NAME_STATUS: Final[Mapping[str, int]] = {
    **dict.fromkeys(
        (
            "bad_request",
            "billing_hard_limit_reached",
            "content_filter",
            "content_policy_violation",
            "failed_precondition",
            "invalid_argument",
            "invalid_prompt",
            "invalid_request",
            "invalid_type",
            "invalid_value",
            "missing_required_parameter",
            "model_not_supported",
            "out_of_range",
            "string_above_max_length",
            "unknown_parameter",
            "unsupported_parameter",
            "unsupported_value",
            "validation",
        ),
        400,
    ),
    **dict.fromkeys(
        (
            "account_deactivated",
            "authentication",
            "expired_api_key",
            "incorrect_api_key",
            "invalid_api_key",
            "invalid_authentication",
            "invalid_organization",
            "unauthenticated",
            "unauthorized",
        ),
        401,
    ),
    **dict.fromkeys(("billing", "insufficient_credits", "insufficient_balance"), 402),
    **dict.fromkeys(
        (
            "access_denied",
            "forbidden",
            "insufficient_permissions",
            "permission",
            "unsupported_country_region_territory",
        ),
        403,
    ),
    **dict.fromkeys(("model_not_found", "invalid_model", "deployment_not_found"), 404),
    "request_timeout": 408,
    **dict.fromkeys(("request_too_large", "request_entity_too_large"), 413),
    "unprocessable_entity": 422,
    **dict.fromkeys(
        (
            "insufficient_quota",
            "quota_exceeded",
            "requests",
            "resource_exhausted",
            "tokens",
            "too_many_requests",
        ),
        429,
    ),
    **dict.fromkeys(("api", "internal", "internal_server", "internal_service"), 500),
    "bad_gateway": 502,
    **dict.fromkeys(
        (
            "engine_overloaded",
            "model_overloaded",
            "server_overloaded",
            "service_unavailable",
            "slow_down",
            "unavailable",
        ),
        503,
    ),
    **dict.fromkeys(("deadline_exceeded", "gateway_timeout"), 504),
    "overloaded": 529,
}
"""
The status of further names, in the form that `_normalize` returns.

Providers behind OpenRouter use them as `code`, `type` or `status`. Source: the lists
of error codes of OpenAI, Anthropic (529 for "overloaded_error") and Google.
"""

_ERROR_STATUS: Final = range(400, 600)
CODE_KEYS: Final = ("code", "http_status", "status", "status_code", "statusCode")
"""The names under which servers send a status as a number."""

SUCCESS: Final = range(200, 300)
"""Statuses of a success."""

REDIRECT: Final = range(300, 400)
"""Statuses of a redirect."""


def error_status(
    http: Exchange, objects: tuple[Mapping[str, Any], ...], error_type: str | None
) -> int:
    """
    Return the status that the exception's class is chosen by.

    The first of: 1. the status of HTTP, if outside 2XX; 2. a number in the error, or
    in the body around it; 3. the status of the error type, of the code, the type and
    the status that are names; 4. 500.
    """
    if http.status is not None and http.status not in SUCCESS:
        return http.status
    for fields in objects:
        for key in CODE_KEYS:
            value = fields.get(key)
            if isinstance(value, str) and value.isascii() and value.strip().isdigit():
                # Four digits are enough to be outside the range.
                number: Any = int(value.strip()[:4])
            else:
                number = value
            if type(number) in (int, float) and number in _ERROR_STATUS:
                return int(number)
    names: list[Any] = []
    for fields in objects:
        names += (as_object(fields.get("metadata")).get("error_type"),)
        names += map(fields.get, ("error_type", "code", "type", "status"))
    # A code names the problem, where a type such as "invalid_request_error" only
    # names its class: OpenAI sends an invalid key under that type.
    for name in (*names, error_type):
        status = _status_of_name(name)
        if status is not None:
            return status
    return 500


def _status_of_name(name: Any) -> int | None:
    if not isinstance(name, str):
        return None
    name = name.strip()
    if name in _ERROR_TYPE_STATUS:
        return _ERROR_TYPE_STATUS[name]
    name = _normalize(name)
    if name.startswith("rate_limit"):
        return 429
    return _NAME_STATUS.get(name) or _ERROR_TYPE_STATUS.get(name)


def _normalize(name: str) -> str:
    """
    Return the name of an error in one spelling.

    "BadRequestError", "bad-request" and "BAD_REQUEST" all become "bad_request".
    """
    if name != name.upper():
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    name = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return re.sub(r"_(error|exception)\Z", "", name)
