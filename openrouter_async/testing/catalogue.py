"""The models that the local server offers, and what tokens cost there."""

import math
import re
from collections.abc import Mapping
from typing import Any

from attrs import frozen

_TOKEN = re.compile(r"\s*\w{1,6}|\s*[^\w\s]|\s+")
_PROVIDERS = {
    "anthropic": "Anthropic",
    "google": "Google AI Studio",
    "meta-llama": "Together",
    "mistralai": "Mistral",
    "openai": "OpenAI",
}


@frozen
class Offer:
    """
    A model and its price.

    Attributes:
        prompt: US dollars per token read.
        completion: US dollars per token written.
    """

    id: str
    name: str
    context_length: int
    prompt: float
    completion: float


OFFERS = (
    Offer("openai/gpt-4o-mini", "OpenAI: GPT-4o-mini", 128_000, 1.5e-7, 6e-7),
    Offer("openai/gpt-5-nano", "OpenAI: GPT-5 Nano", 400_000, 5e-8, 4e-7),
    Offer("anthropic/claude-haiku-4.5", "Claude Haiku 4.5", 200_000, 1e-6, 5e-6),
    Offer("google/gemini-2.5-flash", "Gemini 2.5 Flash", 1_048_576, 3e-7, 2.5e-6),
    Offer("meta-llama/llama-3.3-70b-instruct:free", "Llama 3.3 (free)", 65_536, 0, 0),
)
DEFAULT_MODEL = OFFERS[0].id


def offer(model: str) -> Offer:
    """Tell the price of any model; one that is not offered costs like the first."""
    for known in OFFERS:
        if known.id == model:
            return known
    free = model.endswith(":free")
    price = (0, 0) if free else (OFFERS[0].prompt, OFFERS[0].completion)
    return Offer(model, model, 128_000, *price)


def provider_of(model: str) -> str:
    """Tell the display name of the provider that serves a model."""
    return _PROVIDERS.get(model.partition("/")[0], "Local")


def tokens(text: str) -> list[str]:
    """Cut text into pieces about as long as a tokenizer's; joined they are the text."""
    return _TOKEN.findall(text)


def usage(
    model: str, prompt_tokens: int, completion_tokens: int, reasoning_tokens: int = 0
) -> dict[str, Any]:
    """Write the bill of one answer, in the form of 2026."""
    price = offer(model)
    read = _dollars(prompt_tokens * price.prompt)
    written = _dollars(completion_tokens * price.completion)
    cost = _dollars(read + written)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "cost": cost,
        "is_byok": False,
        "prompt_tokens_details": {
            "cached_tokens": 0,
            "cache_write_tokens": 0,
            "audio_tokens": 0,
            "video_tokens": 0,
        },
        "cost_details": {
            "upstream_inference_cost": cost,
            "upstream_inference_prompt_cost": read,
            "upstream_inference_completions_cost": written,
        },
        "completion_tokens_details": {
            "reasoning_tokens": reasoning_tokens,
            "image_tokens": 0,
            "audio_tokens": 0,
        },
    }


def _dollars(amount: float) -> int | float:
    # Free is an integer zero on the wire.
    return round(amount, 12) or 0


def cost_of(bill: Mapping[str, Any]) -> float:
    """Read the cost out of a `usage` object; 0 where it tells none."""
    cost = bill.get("cost")
    return float(cost) if isinstance(cost, int | float) and math.isfinite(cost) else 0.0


def listing(models: frozenset[str] | None) -> dict[str, Any]:
    """Write the body of `GET /models`."""
    ids = [known.id for known in OFFERS] if models is None else sorted(models)
    return {
        "data": [_entry(offer(model)) for model in ids],
        "total_count": len(ids),
        "links": {"next": None},
    }


def endpoints(model: str) -> dict[str, Any]:
    """Write the body of `GET /models/{id}/endpoints`; there is one for each model."""
    known = offer(model)
    entry = _entry(known)
    one = {
        "name": f"{provider_of(model)} | {model}",
        "model_id": model,
        "provider_name": provider_of(model),
        "context_length": known.context_length,
        "pricing": {**entry["pricing"], "request": "0", "discount": 0},
        "supported_parameters": entry["supported_parameters"],
        "status": 0,
    }
    names = ("id", "name", "created", "description", "architecture")
    return {"data": {**{n: entry[n] for n in names}, "endpoints": [one]}}


def _entry(model: Offer) -> dict[str, Any]:
    return {
        "id": model.id,
        "canonical_slug": model.id,
        "hugging_face_id": "",
        "name": model.name,
        "created": 1_754_587_402,
        "description": "Played by a local server.",
        "context_length": model.context_length,
        "architecture": {
            "modality": "text+image->text",
            "input_modalities": ["text", "image"],
            "output_modalities": ["text"],
            "tokenizer": "Other",
            "instruct_type": None,
        },
        "pricing": {
            "prompt": f"{model.prompt:.10f}",
            "completion": f"{model.completion:.10f}",
        },
        "top_provider": {
            "context_length": model.context_length,
            "max_completion_tokens": 16_384,
            "is_moderated": False,
        },
        "per_request_limits": None,
        "supported_parameters": [
            "max_tokens",
            "reasoning",
            "response_format",
            "stop",
            "structured_outputs",
            "tool_choice",
            "tools",
        ],
        "default_parameters": {"temperature": None, "top_p": None},
        "supported_voices": None,
        "knowledge_cutoff": None,
        "expiration_date": None,
        "links": {"details": f"/api/v1/models/{model.id}/endpoints"},
    }
