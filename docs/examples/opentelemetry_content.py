"""OpenTelemetry: record messages as events, and print them."""

import asyncio
import sys

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import (
    ConsoleLogRecordExporter,
    SimpleLogRecordProcessor,
)

from openrouter_async import AsyncOpenRouter, UserMessage
from openrouter_async.otel import OpenTelemetry


async def main() -> None:
    """Ask a question; its messages are in a log record, and not in the span."""
    provider = LoggerProvider()
    exporter = ConsoleLogRecordExporter(out=sys.stdout)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    observer = OpenTelemetry(logger_provider=provider, capture_content="event_only")
    async with AsyncOpenRouter(observer=observer) as client:
        await client.chat.send(
            model="openai/gpt-4o-mini", messages=[UserMessage("Hello")]
        )


if __name__ == "__main__":
    asyncio.run(main())
