"""Submitter: groups that are queued when a run ends."""

from pathlib import Path
from typing import Any

from openrouter_async.batch.hosted.context import FilledGroup
from openrouter_async.batch.hosted.plan import BatchGroup
from openrouter_async.batch.hosted.spool import SpoolWriter
from openrouter_async.batch.hosted.submitter import Submitter


async def test_discard_deletes_the_files_of_queued_groups(tmp_path: Path) -> None:
    unused: Any = None
    finished: list[int] = []
    submitter = Submitter(unused, lambda: finished.append(1))
    path = tmp_path / "out.batches.1.json"
    group = BatchGroup("m")
    writer = SpoolWriter(path, group, None)
    submitter.put(FilledGroup(1, group, writer, {}, 0.0))
    existed = path.exists()

    submitter.discard()

    assert existed
    assert not path.exists()
    assert (submitter.active, finished) == (0, [1])
