"""Send rows in a run that can be interrupted and continued."""

import asyncio

from openrouter_async import AsyncOpenRouter, BatchItem, BatchStoppedError, read_journal


async def main() -> None:
    texts = {"r-1": "Loved it!", "r-2": "Never again.", "r-3": "Well."}
    rows = (
        BatchItem(name, {"messages": [{"role": "user", "content": text}]})
        for name, text in texts.items()
    )
    async with AsyncOpenRouter() as client:
        run = client.chat.send_many(
            rows,
            model="openai/gpt-4o-mini",
            max_tokens=200,
            journal="out.jsonl",  # a second run sends only the missing rows
            max_cost=0.50,  # dollars; guaranteed, as max_tokens and the price are known
        )
        try:
            async with run:
                async for result in run:
                    print(result.custom_id, result.text or result.error)
        except BatchStoppedError as error:  # all rows fail, or all are refused
            print(error)
    print(run.stats.resumed, "rows were in the journal")
    if run.stats.stop_reason == "budget":
        print("stopped: the next request could exceed max_cost")
    for result in read_journal("out.jsonl"):  # the results of all runs
        print(result.custom_id, result.text)


asyncio.run(main())
