"""Send the rows of a Ray dataset from several processes."""

import ray

from openrouter_async.ray import RayRun

ray.init()
with RayRun(
    journal="out.jsonl",
    model="openai/gpt-4o-mini",
    max_tokens=200,
    workers=2,
    max_cost=50.0,
) as run:
    ds = ray.data.read_json("prompts.jsonl")  # columns: id, text
    ds = run.send_many(ds, prompt="Summarise: {text}", custom_id="id")
    ds.write_parquet("summaries")

print(run.stats.ok, "rows sent,", run.stats.resumed, "from the journal")
