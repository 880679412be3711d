"""The local server's default responses: authentication, validation, endpoints."""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from attrs import define, field

from ..protocol.decode import as_object
from ..protocol.money import ZERO, add, exact
from .catalogue import cost_of, endpoints_body, models_body
from .error_replies import error_reply
from .reply import Reply
from .seen_requests import SeenRequest, as_list, messages_of
from .simulated_model import complete
from .stored_batch import BatchScript

ROOT = "/api/v1"
_CHAT = f"{ROOT}/chat/completions"
_KEY = "sk-or-v1-local-0000000000000000"
_USER = "user_2local"
# US dollars.
_CREDITS = 100.0


@define
class Account:
    """
    The server's only account: the amount spent and the generations.

    Attributes:
        lag: Number of lookups of a generation that fail before one succeeds. At
            OpenRouter they fail for minutes.
        keep: Number of generations that are kept; the oldest are dropped.
        spent: US dollars, exactly.
    """

    lag: int = 1
    keep: int = 10_000
    spent: Decimal = ZERO
    _generations: dict[str, dict[str, Any]] = field(factory=dict[str, dict[str, Any]])
    _lookups_left: dict[str, int] = field(factory=dict[str, int])

    def bill(self, cost: float) -> None:
        """Count US dollars that were billed."""
        self.spent = add(self.spent, exact(cost))

    def record(self, seen: SeenRequest, body: Mapping[str, Any]) -> float:
        """
        Record a completion and return its cost in US dollars.

        One that the client did not read to its end costs as much.
        """
        usage = as_object(body.get("usage"))
        cost = cost_of(usage)
        self.bill(cost)
        seen.cost = cost
        self._lookups_left[seen.generation_id] = self.lag
        if len(self._generations) > self.keep:
            oldest = next(iter(self._generations))
            del self._generations[oldest], self._lookups_left[oldest]
        choice = as_object(next(iter(as_list(body.get("choices"))), None))
        milliseconds = round(((seen.closed or seen.time) - seen.time) * 1000)
        now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        details = as_object(usage.get("completion_tokens_details"))
        self._generations[seen.generation_id] = {
            "id": seen.generation_id,
            "upstream_id": None,
            "created_at": now.replace("+00:00", "Z"),
            "model": body.get("model"),
            "provider_name": body.get("provider"),
            "api_type": "completions",
            "streamed": seen.stream,
            "cancelled": seen.closed_early,
            "finish_reason": None if seen.closed_early else choice.get("finish_reason"),
            "native_finish_reason": choice.get("native_finish_reason"),
            "latency": milliseconds,
            "generation_time": milliseconds,
            "tokens_prompt": usage.get("prompt_tokens"),
            "tokens_completion": usage.get("completion_tokens"),
            "native_tokens_prompt": usage.get("prompt_tokens"),
            "native_tokens_completion": usage.get("completion_tokens"),
            "native_tokens_reasoning": details.get("reasoning_tokens"),
            "native_tokens_cached": 0,
            "is_byok": False,
            "usage": cost,
            "total_cost": cost,
            "upstream_inference_cost": 0,
            "cache_discount": None,
            "http_referer": seen.headers.get("HTTP-Referer"),
            "user_agent": seen.headers.get("User-Agent"),
            "session_id": seen.fields.get("session_id"),
            "provider_responses": [
                {"provider_name": body.get("provider"), "status": 200}
            ],
        }
        return cost

    def generation_body(self, generation_id: str) -> dict[str, Any] | None:
        """Return the body of `GET /generation`; None if the id is not found (yet)."""
        if generation_id not in self._generations:
            return None
        if self._lookups_left[generation_id] > 0:
            self._lookups_left[generation_id] -= 1
            return None
        return {"data": self._generations[generation_id]}

    def credits_body(self) -> dict[str, Any]:
        """Return the body of `GET /credits`."""
        return {"data": {"total_credits": _CREDITS, "total_usage": float(self.spent)}}

    def key_body(self, key: str) -> dict[str, Any]:
        """Return the body of `GET /key`."""
        periods = ("", "_daily", "_weekly", "_monthly")
        spent = float(self.spent)
        return {
            "data": {
                "label": f"{key[:12]}...{key[-3:]}",
                "is_management_key": False,
                "is_provisioning_key": False,
                "limit": _CREDITS,
                "limit_reset": None,
                "limit_remaining": _CREDITS - spent,
                "include_byok_in_limit": False,
                **{f"usage{period}": spent for period in periods},
                **{f"byok_usage{period}": 0 for period in periods},
                "is_free_tier": False,
                "expires_at": None,
                "free_model_daily_requests": {
                    "used": 0,
                    "limit": 1000,
                    "remaining": 1000,
                },
                "rate_limit": {
                    "requests": -1,
                    "interval": "10s",
                    "note": "This field is deprecated and safe to ignore.",
                },
            }
        }


class Endpoints:
    """Responds to requests without a script, as OpenRouter did when recorded."""

    def __init__(
        self,
        keys: Iterable[str] | None,
        models: Iterable[str] | None,
        account: Account,
        batches: BatchScript,
    ) -> None:
        self.account = account
        self._batches = batches
        self._keys = None if keys is None else tuple(keys)
        self._models = None if models is None else frozenset(models)
        self._handlers: dict[str, Callable[[SeenRequest], Reply]] = {
            f"{ROOT}/models": lambda _: _json_reply(models_body(self._models)),
            f"{ROOT}/key": lambda seen: _json_reply(account.key_body(_key(seen))),
            f"{ROOT}/credits": lambda _: _json_reply(account.credits_body()),
            f"{ROOT}/generation": self._generation,
        }

    @property
    def api_key(self) -> str:
        """An API key that the server accepts."""
        return self._keys[0] if self._keys else _KEY

    def is_chat(self, seen: SeenRequest) -> bool:
        """Return True if a request has the path of chat completions."""
        return seen.path == _CHAT

    def authenticate(self, seen: SeenRequest) -> Reply | None:
        """Return the reply to a request without an accepted key, else None."""
        # The list of models is public (protocol, Oct 2026).
        if seen.path == f"{ROOT}/models":
            return None
        key = _key(seen)
        if not key:
            return error_reply(401, "Missing Authentication header")
        if self._keys is not None and key not in self._keys:
            return error_reply(401)
        return None

    def validate(self, seen: SeenRequest) -> Reply | None:
        """Return the error reply to an invalid request, else None."""
        if not seen.path.startswith(f"{ROOT}/"):
            # Other paths belong to OpenRouter's website.
            return error_reply(404, shape="html", generation_id=False)
        if not self.is_chat(seen) and self._handler(seen) is None:
            return error_reply(404, "Not Found", generation_id=False)
        method = "POST" if self.is_chat(seen) else "GET"
        if seen.method != method:
            return error_reply(405, headers={"Allow": method}, generation_id=False)
        return self._validate_chat(seen) if self.is_chat(seen) else None

    def _validate_chat(self, seen: SeenRequest) -> Reply | None:
        if not isinstance(seen.json, dict):
            # OpenRouter's message, although misleading (recorded Oct 2026).
            text = "Input must have at least 1 token."
            return error_reply(
                400, text, metadata={"provider_name": None}, generation_id=False
            )
        messages = messages_of(seen.fields)
        if not messages:
            text = 'Input required: specify "prompt" or "messages"'
            return error_reply(400, text, user_id=_USER, generation_id=False)
        if not isinstance(messages, list):
            text = "messages: Invalid input: expected array"
            return error_reply(400, text, user_id=_USER, generation_id=False)
        if seen.model.endswith(":batch"):
            text = "This model is only available through the Batch API."
            return error_reply(404, text, generation_id=False)
        if self._models is not None and seen.model not in self._models:
            return error_reply(
                400, f"{seen.model} is not a valid model ID", user_id=_USER
            )
        return None

    def default_reply(self, seen: SeenRequest, created: int) -> Reply:
        """
        Return the reply to a request; an error reply if the request is invalid.

        Args:
            seen: The request.
            created: Unix time in seconds.
        """
        if (rejection := self.validate(seen)) is not None:
            return rejection
        handler = self._handler(seen)
        return Reply(complete(seen, created)) if handler is None else handler(seen)

    def _handler(self, seen: SeenRequest) -> Callable[[SeenRequest], Reply] | None:
        model = seen.path.removeprefix(f"{ROOT}/models/").removesuffix("/endpoints")
        if seen.path == f"{ROOT}/models/{model}/endpoints":
            base = model.removesuffix(":batch")
            known = self._models is None or base in self._models
            if not known or (model != base and base in self._batches.no_batch):
                return None
            share = 1.0 if model == base else self._batches.price
            return lambda _: _json_reply(endpoints_body(model, share))
        return self._handlers.get(seen.path)

    def _generation(self, seen: SeenRequest) -> Reply:
        generation_id = seen.query.get("id", "")
        body = self.account.generation_body(generation_id)
        if body is None:
            text = f"Generation {generation_id} not found"
            return error_reply(404, text, generation_id=False)
        return _json_reply(body)


def _json_reply(body: dict[str, Any]) -> Reply:
    return Reply(json=body, generation_id=False)


def _key(seen: SeenRequest) -> str:
    scheme, _, key = seen.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""
