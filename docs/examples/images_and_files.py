"""Send images and files with a prompt."""

import asyncio
import tempfile
from pathlib import Path

from openrouter_async import (
    AsyncOpenRouter,
    FilePart,
    ImagePart,
    SystemMessage,
    TextPart,
    UserMessage,
)


async def main(folder: Path) -> None:
    (folder / "plan.png").write_bytes(b"...")
    (folder / "terms.pdf").write_bytes(b"...")
    async with AsyncOpenRouter() as client:
        response = await client.chat.send(
            model="google/gemini-2.5-flash",
            messages=[
                SystemMessage([TextPart("Long instructions to be cached.").cached()]),
                UserMessage(
                    [
                        TextPart("Does the plan comply with the terms?"),
                        await ImagePart.from_path(folder / "plan.png", detail="low"),
                        await FilePart.from_path(folder / "terms.pdf"),
                        ImagePart.from_url("https://x.test/garden.jpg"),
                    ]
                ),
            ],
        )
        print(response.text)


with tempfile.TemporaryDirectory() as folder:
    asyncio.run(main(Path(folder)))
