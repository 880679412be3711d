"""The bodies of the endpoints beside chat: key, credits, generation."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from attrs import define, field

from .catalogue import cost_of
from .seen_requests import SeenRequest

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
