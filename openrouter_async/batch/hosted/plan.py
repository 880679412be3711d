"""
The plan of hosted batches: checks, groups and names of rows.

Pure. A row that the service would refuse makes the whole batch fail, seconds after it
was accepted. So each row is checked before anything is sent.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from ...errors import ConfigurationError
from ...protocol.batch_parsing import objects_in
from ...protocol.decode import as_object
from ...protocol.encode import canonical, encode
from ..rows.items import name_key

CHAT_ENDPOINT: Final = "/v1/chat/completions"
MAX_ROWS: Final = 5000
"""Rows per batch: the documented limit."""

MAX_BYTES: Final = 50_000_000
"""
Bytes per batch. The documented limit is 200 MB; results of that size were observed to
fail for days.
"""

# Anthropic's rule, the strictest among the providers.
_WIRE_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_UNSUPPORTED: Final = ("stream", "audio", "image_config", "web_search_options")
_PROVIDER_KEYS: Final = frozenset({"only", "allow_fallbacks"})
_LIMITS: Final = ("max_tokens", "max_completion_tokens")
_HTTPS_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "image_url": ("image_url", "url"),
    "file": ("file", "file_data"),
}
_HINT: Final = "Send the row with chat.send_many()."


@frozen
class BatchGroup:
    """
    Properties that all rows of a batch share.

    Attributes:
        model: Model of the batch.
        provider: `provider` of the batch as canonical JSON; None without one.
        response_format: `response_format` as canonical JSON, for Google's models;
            None without one and for other models.
    """

    model: str
    provider: bytes | None = None
    response_format: bytes | None = None


@frozen
class PlannedRow:
    """
    A row that can be submitted.

    Attributes:
        wire_name: `custom_id` in the submission.
        line: The row in the submission, as JSON.
        group: Group of the row.
    """

    wire_name: str
    line: bytes
    group: BatchGroup


def plan_row(
    body: Mapping[str, Any], name: str, fingerprint: int | None = None
) -> PlannedRow:
    """
    Check a row and return its part of a submission.

    Args:
        body: The request as plain JSON values.
        name: Name of the row.
        fingerprint: Fingerprint of the request, if the name is only a position.

    Raises:
        ConfigurationError: If the row cannot be sent in a hosted batch.
    """
    if problem := _problem(body):
        raise ConfigurationError(
            f"Row {name!r} cannot be sent in a hosted batch: {problem}.", hint=_HINT
        )
    model, provider = body["model"], body.get("provider") or None
    shared_format = body.get("response_format") or None
    if not model.startswith("google/"):
        shared_format = None
    group = BatchGroup(
        model,
        None if provider is None else canonical(provider),
        None if shared_format is None else canonical(shared_format),
    )
    name_on_wire = wire_name(name, fingerprint)
    own = {k: v for k, v in body.items() if k not in ("model", "provider")}
    line = encode({"custom_id": name_on_wire, "body": own})
    return PlannedRow(name_on_wire, line, group)


def wire_name(name: str, fingerprint: int | None = None) -> str:
    """
    Return the `custom_id` that a row has in a submission.

    Args:
        name: Name of the row.
        fingerprint: Fingerprint of the request, if the name is only a position. Rows
            of other programs have the same positions, and a batch whose submission was
            not answered is recognised by the names of its rows.
    """
    if fingerprint is not None:
        name = f"{name}-{fingerprint:016x}"
    return name if _WIRE_NAME.fullmatch(name) else f"{name_key(name):016x}"


def submission_head(
    endpoint: str,
    model: str,
    *,
    callback_url: str | None = None,
    provider: bytes | None = None,
) -> bytes:
    """
    Return the start of a submission, up to its rows.

    The server reads the keys in this order. An absent field is not the same as null.
    """
    head = {"endpoint": endpoint, "model": model}
    if callback_url is not None:
        head["callback_url"] = callback_url
    start = encode(head)[:-1]
    if provider is not None:
        start += b',"provider":' + provider
    return start + b',"requests":[\n'


def other_slug(model: str) -> str:
    """Return the other form of a model's slug: with or without `:batch`."""
    if model.endswith(":batch"):
        return model.removesuffix(":batch")
    return f"{model}:batch"


def _problem(body: Mapping[str, Any]) -> str | None:
    """Return the reason why a row cannot be sent in a batch; None if it can."""
    for check in (_model_problem, _field_problem, _provider_problem, _message_problem):
        if problem := check(body):
            return problem
    return None


def _model_problem(body: Mapping[str, Any]) -> str | None:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        return "it names no model"
    if model.endswith(":online"):
        return f"{model!r} searches the web"
    if body.get("models"):
        return "models= would need a batch for each model"
    return None


def _field_problem(body: Mapping[str, Any]) -> str | None:
    for name in _UNSUPPORTED:
        if body.get(name):
            return f"{name}= is not supported in batches"
    if [kind for kind in body.get("modalities") or () if kind != "text"]:
        return "modalities= can only contain 'text'"
    for name in _LIMITS:
        limit = body.get(name)
        if limit is not None and (
            isinstance(limit, bool) or not isinstance(limit, int) or limit < 1
        ):
            return f"{name}= must be an integer of 1 or more, not {limit!r:.20}"
    plugins = [as_object(plugin).get("id") for plugin in body.get("plugins") or ()]
    tools = [str(as_object(tool).get("type")) for tool in body.get("tools") or ()]
    if "web" in plugins or any("web_search" in kind for kind in tools):
        return "web search is not supported in batches"
    return None


def _provider_problem(body: Mapping[str, Any]) -> str | None:
    unknown = sorted(as_object(body.get("provider")).keys() - _PROVIDER_KEYS)
    if unknown:
        return f"provider= can only have 'only' and 'allow_fallbacks', not {unknown}"
    return None


def _message_problem(body: Mapping[str, Any]) -> str | None:
    messages = objects_in(body.get("messages"))
    if not messages:
        return "messages= is empty"
    for message in messages:
        for part in objects_in(message.get("content")):
            kind = str(part.get("type"))
            if kind != "text" and not _is_public(part, kind):
                return f"a part of type {kind!r} is not text or a public https URL"
    return None


def _is_public(part: Mapping[str, Any], kind: str) -> bool:
    path: Sequence[str] = _HTTPS_PARTS.get(kind, ())
    value: Any = part
    for key in path:
        value = as_object(value).get(key)
    return isinstance(value, str) and value.startswith("https://")
