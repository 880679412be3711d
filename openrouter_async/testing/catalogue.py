"""The models of the local server, their prices, and the usage of a completion."""

import math
import re
from collections.abc import Mapping
from typing import Any

from attrs import evolve, frozen

_TOKEN = re.compile(r"\s*\w{1,6}|\s*[^\w\s]|\s+")
_PROVIDERS = {
    "anthropic": "Anthropic",
    "google": "Google AI Studio",
    "meta-llama": "Together",
    "mistralai": "Mistral",
    "openai": "OpenAI",
}


@frozen
class LocalModel:
    """
    A model of the local server.

    Attributes:
        id: Model id, as in a request's `model`.
        name: Display name.
        context_length: Tokens.
        prompt: Price of an input token in US dollars.
        completion: Price of an output token in US dollars.
    """

    id: str
    name: str
    context_length: int
    prompt: float
    completion: float


MODELS = (
    LocalModel("openai/gpt-4o-mini", "OpenAI: GPT-4o-mini", 128_000, 1.5e-7, 6e-7),
    LocalModel("openai/gpt-5-nano", "OpenAI: GPT-5 Nano", 400_000, 5e-8, 4e-7),
    LocalModel("anthropic/claude-haiku-4.5", "Claude Haiku 4.5", 200_000, 1e-6, 5e-6),
    LocalModel("google/gemini-2.5-flash", "Gemini 2.5 Flash", 1_048_576, 3e-7, 2.5e-6),
    LocalModel(
        "meta-llama/llama-3.3-70b-instruct:free", "Llama 3.3 (free)", 65_536, 0, 0
    ),
)
DEFAULT_MODEL = MODELS[0].id


def find_model(model_id: str) -> LocalModel:
    """Return a model; an unknown one has the default model's price, or is `:free`."""
    for known in MODELS:
        if known.id == model_id:
            return known
    free = model_id.endswith(":free")
    price = (0, 0) if free else (MODELS[0].prompt, MODELS[0].completion)
    return LocalModel(model_id, model_id, 128_000, *price)


def provider_of(model_id: str) -> str:
    """Return the display name of the provider that serves a model."""
    return _PROVIDERS.get(model_id.partition("/")[0], "Local")


def split_tokens(text: str) -> list[str]:
    """Split text into pieces of about the length of a token; joined, they equal it."""
    return _TOKEN.findall(text)


def usage_body(
    model_id: str, prompt_tokens: int, completion_tokens: int, reasoning_tokens: int = 0
) -> dict[str, Any]:
    """Return the `usage` object of a completion, with the members seen in Oct 2026."""
    model = find_model(model_id)
    prompt_cost = _dollars(prompt_tokens * model.prompt)
    completion_cost = _dollars(completion_tokens * model.completion)
    cost = _dollars(prompt_cost + completion_cost)
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
            "upstream_inference_prompt_cost": prompt_cost,
            "upstream_inference_completions_cost": completion_cost,
        },
        "completion_tokens_details": {
            "reasoning_tokens": reasoning_tokens,
            "image_tokens": 0,
            "audio_tokens": 0,
        },
    }


def _dollars(amount: float) -> int | float:
    # OpenRouter sends the integer 0 for free models.
    return round(amount, 12) or 0


def cost_of(usage: Mapping[str, Any]) -> float:
    """Return the cost in a `usage` object; 0 if it is missing or not a number."""
    cost = usage.get("cost")
    return float(cost) if isinstance(cost, int | float) and math.isfinite(cost) else 0.0


def models_body(models: frozenset[str] | None) -> dict[str, Any]:
    """Return the body of `GET /models`; None lists the predefined models."""
    ids = [known.id for known in MODELS] if models is None else sorted(models)
    return {
        "data": [_entry(find_model(model_id)) for model_id in ids],
        "total_count": len(ids),
        "links": {"next": None},
    }


def endpoints_body(model_id: str, share: float = 1.0) -> dict[str, Any]:
    """
    Return the body of `GET /models/{id}/endpoints`; each model has one endpoint.

    Args:
        model_id: Model id, perhaps of the batch variant.
        share: Its price, as a share of the live price.
    """
    live = find_model(model_id.removesuffix(":batch"))
    model = evolve(
        live,
        id=model_id,
        prompt=live.prompt * share,
        completion=live.completion * share,
    )
    entry = _entry(model)
    endpoint = {
        "name": f"{provider_of(model_id)} | {model_id}",
        "model_id": model_id,
        "provider_name": provider_of(model_id),
        "context_length": model.context_length,
        "pricing": {**entry["pricing"], "request": "0", "discount": 0},
        "supported_parameters": entry["supported_parameters"],
        "status": 0,
    }
    names = ("id", "name", "created", "description", "architecture")
    return {"data": {**{name: entry[name] for name in names}, "endpoints": [endpoint]}}


def _entry(model: LocalModel) -> dict[str, Any]:
    return {
        "id": model.id,
        "canonical_slug": model.id,
        "hugging_face_id": "",
        "name": model.name,
        "created": 1_754_587_402,
        "description": "Simulated by a local server.",
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
