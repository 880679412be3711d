"""What the local server says on its own: who may ask, what is wrong, the answers."""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import define, field

from .catalogue import cost_of, endpoints, listing
from .error_replies import error_reply
from .reply import Reply
from .seen_requests import SeenRequest
from .simulated_model import answer

ROOT = "/api/v1"
_CHAT = f"{ROOT}/chat/completions"
_KEY = "sk-or-v1-local-0000000000000000"
_USER = "user_2local"
_CREDITS = 100.0


@define
class Account:
    """
    What the server's only account has spent, and on which generations.

    Attributes:
        lag: How often a generation is "not found" before it is known, as the real
            one is for minutes.
        keep: How many generations are remembered, the latest.
    """

    lag: int = 1
    keep: int = 10_000
    spent: float = 0.0
    _known: dict[str, dict[str, Any]] = field(factory=dict[str, dict[str, Any]])
    _misses: dict[str, int] = field(factory=dict[str, int])

    def book(self, seen: SeenRequest, body: Mapping[str, Any]) -> float:
        """Enter an answer, paid even by who left early; tell its cost."""
        bill: dict[str, Any] = body.get("usage") or {}
        cost = cost_of(bill)
        self.spent += cost
        self._misses[seen.generation_id] = self.lag
        if len(self._known) > self.keep:
            oldest = next(iter(self._known))
            del self._known[oldest], self._misses[oldest]
        choice: dict[str, Any] = body["choices"][0]
        seconds = (seen.closed or seen.time) - seen.time
        now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        details: dict[str, Any] = bill.get("completion_tokens_details") or {}
        self._known[seen.generation_id] = {
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
            "latency": round(seconds * 1000),
            "generation_time": round(seconds * 1000),
            "tokens_prompt": bill.get("prompt_tokens"),
            "tokens_completion": bill.get("completion_tokens"),
            "native_tokens_prompt": bill.get("prompt_tokens"),
            "native_tokens_completion": bill.get("completion_tokens"),
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

    def generation(self, generation_id: str) -> dict[str, Any] | None:
        """Write the body of `GET /generation`; None while it is not known."""
        if generation_id not in self._known:
            return None
        if self._misses[generation_id] > 0:
            self._misses[generation_id] -= 1
            return None
        return {"data": self._known[generation_id]}

    def credits(self) -> dict[str, Any]:
        """Write the body of `GET /credits`."""
        return {"data": {"total_credits": _CREDITS, "total_usage": self.spent}}

    def key(self, key: str) -> dict[str, Any]:
        """Write the body of `GET /key`."""
        spent = dict.fromkeys(
            ("usage", "usage_daily", "usage_weekly", "usage_monthly"), self.spent
        )
        own = dict.fromkeys(
            (
                "byok_usage",
                "byok_usage_daily",
                "byok_usage_weekly",
                "byok_usage_monthly",
            ),
            0,
        )
        return {
            "data": {
                "label": f"{key[:12]}...{key[-3:]}",
                "is_management_key": False,
                "is_provisioning_key": False,
                "limit": _CREDITS,
                "limit_reset": None,
                "limit_remaining": _CREDITS - self.spent,
                "include_byok_in_limit": False,
                **spent,
                **own,
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
    """Judges and answers requests without a script, as OpenRouter was seen to do."""

    def __init__(
        self,
        keys: Iterable[str] | None,
        models: Iterable[str] | None,
        account: Account,
    ) -> None:
        self.account = account
        self._keys = None if keys is None else tuple(keys)
        self._models = None if models is None else frozenset(models)
        self._readers: dict[str, Callable[[SeenRequest], Reply]] = {
            f"{ROOT}/models": lambda _: _json(listing(self._models)),
            f"{ROOT}/key": lambda seen: _json(account.key(_key(seen))),
            f"{ROOT}/credits": lambda _: _json(account.credits()),
            f"{ROOT}/generation": self._generation,
        }

    @property
    def api_key(self) -> str:
        """A key that is accepted."""
        return self._keys[0] if self._keys else _KEY

    def is_chat(self, seen: SeenRequest) -> bool:
        """Tell whether a request is for a completion."""
        return seen.path == _CHAT

    def refuse_key(self, seen: SeenRequest) -> Reply | None:
        """Refuse a request without an acceptable key; None: it has one."""
        # The list of models is public (protocol, Oct 2026).
        if seen.path == f"{ROOT}/models":
            return None
        key = _key(seen)
        if not key:
            return error_reply(401, "Missing Authentication header")
        return (
            error_reply(401)
            if self._keys is not None and key not in self._keys
            else None
        )

    def refuse(self, seen: SeenRequest) -> Reply | None:
        """Refuse a request that is wrong in itself; None: it is good."""
        if not self.is_chat(seen) and self._reader(seen) is None:
            return error_reply(404, "Not Found", generation_id=False)
        method = "POST" if self.is_chat(seen) else "GET"
        if seen.method != method:
            return error_reply(405, headers={"Allow": method}, generation_id=False)
        return self._refuse_chat(seen) if self.is_chat(seen) else None

    def _refuse_chat(self, seen: SeenRequest) -> Reply | None:
        if not isinstance(seen.json, dict):
            # So it says, misleading as it is (recorded Oct 2026).
            text = "Input must have at least 1 token."
            return error_reply(
                400, text, metadata={"provider_name": None}, generation_id=False
            )
        messages: Any = seen.fields.get("messages")
        if not messages:
            text = 'Input required: specify "prompt" or "messages"'
            return error_reply(400, text, user_id=_USER, generation_id=False)
        if not isinstance(messages, list):
            text = "messages: Invalid input: expected array"
            return error_reply(400, text, user_id=_USER, generation_id=False)
        if self._models is not None and seen.model not in self._models:
            return error_reply(
                400, f"{seen.model} is not a valid model ID", user_id=_USER
            )
        return None

    def answer(self, seen: SeenRequest, created: int) -> Reply:
        """
        Answer a request that is good.

        Args:
            seen: The request.
            created: Unix seconds.
        """
        if self.is_chat(seen):
            return Reply(answer(seen, created))
        reader = self._reader(seen)
        assert reader is not None  # noqa: S101 - it was not refused
        return reader(seen)

    def _reader(self, seen: SeenRequest) -> Callable[[SeenRequest], Reply] | None:
        model = seen.path.removeprefix(f"{ROOT}/models/").removesuffix("/endpoints")
        if seen.path == f"{ROOT}/models/{model}/endpoints":
            known = self._models is None or model in self._models
            return (lambda _: _json(endpoints(model))) if known else None
        return self._readers.get(seen.path)

    def _generation(self, seen: SeenRequest) -> Reply:
        wanted = seen.query.get("id", "")
        found = self.account.generation(wanted)
        if found is None:
            text = f"Generation {wanted} not found"
            return error_reply(404, text, generation_id=False)
        return _json(found)


def _json(body: dict[str, Any]) -> Reply:
    return Reply(json=body, generation_id=False)


def _key(seen: SeenRequest) -> str:
    scheme, _, key = seen.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""
