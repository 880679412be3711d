"""Build a request once and send it with changes."""

import asyncio

from openrouter_async import (
    AsyncOpenRouter,
    ChatGenerationParams,
    ImagePart,
    ProviderPreferences,
    SystemMessage,
    TextPart,
    UserMessage,
)


async def main() -> None:
    params = ChatGenerationParams(
        model="google/gemini-2.5-flash",
        messages=[
            SystemMessage("You are brief."),
            UserMessage([TextPart("What is this?"), ImagePart("https://x.test/a.png")]),
        ],
        provider=ProviderPreferences(sort="throughput", data_collection="deny"),
        reasoning={"effort": "low"},
        max_completion_tokens=200,
    )
    async with AsyncOpenRouter() as client:
        response = await client.chat.send(params, temperature=0.2)
        history = [*(params.messages or ()), response.message, UserMessage("Why?")]
        response = await client.chat.send(params, messages=history)
        print(response.text)


asyncio.run(main())
