"""A function that a test in testing_pytest.py calls."""

from openrouter_async import AsyncOpenRouter, UserMessage


async def summarize(text: str) -> str:
    """Return a summary; the client's options come from the environment."""
    async with AsyncOpenRouter() as client:
        response = await client.chat.send(
            model="openai/gpt-4o-mini",
            messages=[UserMessage(f"Summarize: {text}")],
            temperature=0,
        )
    return response.text
