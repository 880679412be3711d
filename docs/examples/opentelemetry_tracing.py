"""OpenTelemetry: trace chats and tools, and print the spans."""

import asyncio
import sys

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from openrouter_async import AsyncOpenRouter, UserMessage, tool
from openrouter_async.otel import OpenTelemetry

MODEL = "openai/gpt-4o-mini"


@tool
async def get_weather(city: str) -> str:
    """Return the weather in a city."""
    return f"Sunny in {city}"


async def main() -> None:
    """Ask a question; each request and each tool becomes a span."""
    provider = TracerProvider()
    provider.add_span_processor(
        SimpleSpanProcessor(ConsoleSpanExporter(out=sys.stdout))
    )
    tracer = provider.get_tracer("example")
    async with AsyncOpenRouter(observer=OpenTelemetry(provider)) as client:
        with tracer.start_as_current_span("question"):
            await client.chat.run_tools(
                model=MODEL,
                messages=[UserMessage("What is the weather in Oslo?")],
                tools=[get_weather],
            )


if __name__ == "__main__":
    asyncio.run(main())
