"""
Two tasks, written with openrouter_async and with openai-python as a user writes them.

This module is not run directly; `typed.py` runs the tasks and counts the lines between
the markers.
"""

# ruff: noqa: ARG001, D101, D103 - as short as a user would write it

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from attrs import define
from openai import AsyncOpenAI, DefaultAioHttpClient
from pydantic import BaseModel

from benchmarks.contender import API_KEY
from openrouter_async import AsyncOpenRouter, UserMessage, tool

MODEL = "openai/gpt-4o-mini"
EXTRACT = "Invoice of 2 May: a chair 49.90, a lamp 20."
ASK = "Weather and population of Nice?"

# openrouter_async, extraction: begin


@define
class Line:
    what: str
    price: float


@define
class Invoice:
    lines: list[Line]
    paid: bool


async def our_extraction(client: AsyncOpenRouter) -> float:
    response = await client.chat.send(
        model=MODEL, messages=[UserMessage(EXTRACT)], output=Invoice
    )
    return sum(line.price for line in response.output.lines)


# openrouter_async, extraction: end
# openai, extraction: begin


class TheirLine(BaseModel):
    what: str
    price: float


class TheirInvoice(BaseModel):
    lines: list[TheirLine]
    paid: bool


async def their_extraction(client: AsyncOpenAI) -> float:
    response = await client.chat.completions.parse(
        model=MODEL,
        messages=[{"role": "user", "content": EXTRACT}],
        response_format=TheirInvoice,
        extra_body={"provider": {"require_parameters": True}},
    )
    parsed = response.choices[0].message.parsed
    if parsed is None:
        raise ValueError(response.choices[0].message.refusal)
    return sum(line.price for line in parsed.lines)


# openai, extraction: end
# openrouter_async, two tools: begin


@tool
async def get_weather(city: str, unit: Literal["C", "F"] = "C") -> dict[str, float]:
    """Return today's weather in a city."""
    return {"temperature": 21.5 if unit == "C" else 70.7}


@tool
async def get_population(city: str) -> int:
    """Return the number of people who live in a city."""
    return len(city) * 1000


async def our_loop(client: AsyncOpenRouter) -> str:
    run = await client.chat.run_tools(
        model=MODEL,
        messages=[UserMessage(ASK)],
        tools=[get_weather, get_population],
    )
    return run.response.text


# openrouter_async, two tools: end
# openai, two tools: begin


async def weather(city: str, unit: Literal["C", "F"] = "C") -> dict[str, float]:
    return {"temperature": 21.5 if unit == "C" else 70.7}


async def population(city: str) -> int:
    return len(city) * 1000


FUNCTIONS: dict[str, Callable[..., Awaitable[Any]]] = {
    "get_weather": weather,
    "get_population": population,
}
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Return today's weather in a city.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "unit": {"type": "string", "enum": ["C", "F"]},
                },
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "get_population",
            "description": "Return the number of people who live in a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    },
]


async def call_function(call: Any) -> str:
    try:
        function = FUNCTIONS[call.function.name]
        value = await function(**json.loads(call.function.arguments or "{}"))
    except Exception as error:  # noqa: BLE001 - reported to the model
        return json.dumps({"error": f"{type(error).__name__}: {error}"})
    return json.dumps(value)


async def their_loop(client: AsyncOpenAI) -> str:
    messages: list[Any] = [{"role": "user", "content": ASK}]
    for _ in range(10):
        response = await client.chat.completions.create(
            model=MODEL, messages=messages, tools=TOOLS
        )
        choice = response.choices[0]
        calls = choice.message.tool_calls
        if not calls:
            return choice.message.content or ""
        if choice.finish_reason == "length":
            raise ValueError("a tool call is cut off")
        messages.append(choice.message.model_dump(exclude_none=True))
        contents = await asyncio.gather(*(call_function(call) for call in calls))
        for call, content in zip(calls, contents, strict=True):
            messages.append(
                {"role": "tool", "tool_call_id": call.id, "content": content}
            )
    raise ValueError("too many turns")


# openai, two tools: end


def make_ours(base_url: str) -> AsyncOpenRouter:
    """Create a client with its defaults."""
    return AsyncOpenRouter(api_key=API_KEY, base_url=base_url)


def make_theirs(base_url: str) -> AsyncOpenAI:
    """Create a client with its defaults, on httpx."""
    return AsyncOpenAI(api_key=API_KEY, base_url=base_url)


def make_theirs_on_aiohttp(base_url: str) -> AsyncOpenAI:
    """Create a client with its defaults, on its aiohttp transport."""
    return AsyncOpenAI(
        api_key=API_KEY, base_url=base_url, http_client=DefaultAioHttpClient()
    )
