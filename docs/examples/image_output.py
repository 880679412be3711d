"""Generate an image and save it."""

import asyncio
import base64
from pathlib import Path

from openrouter_async import AsyncOpenRouter, UserMessage


async def draw(prompt: str) -> list[bytes]:
    async with AsyncOpenRouter() as client:
        response = await client.chat.send(
            model="google/gemini-2.5-flash-image",
            messages=[UserMessage(prompt)],
            modalities=["image", "text"],
        )
    # Each image is a data URL: the media type, a comma, and base64.
    urls = [
        image.get("image_url", {}).get("url", "") for image in response.message.images
    ]
    return [base64.b64decode(url.partition("base64,")[2]) for url in urls]


for number, data in enumerate(asyncio.run(draw("Draw a green circle."))):
    path = Path(f"image-{number}.png")
    path.write_bytes(data)
    print(path)
