"""Index runs as jobs of a gateway: what a failed one says, and when the gateway must end."""

from collections.abc import Callable

import pytest

from ledger.errors import LedgerError
from ledger.primitives import Hash32
from nodes.gateway.outbox import OutcomeUnknown
from nodes.gateway.server import IndexJobs, Job, Report
from nodes.storage.errors import StorageWriteFailed
from tests.gateway.test_indexer import Trace


async def ended(error: LedgerError) -> tuple[IndexJobs, Job]:
    """A job whose run gets as far as one record and then fails."""

    async def run(progress: Callable[[Report], None]) -> Report:
        progress({"records": 1})
        raise error

    jobs = IndexJobs(run, Trace())
    job = jobs.start()
    assert job.task is not None
    await job.task
    assert (job.state, job.report["records"]) == ("failed", 1)
    assert job.report["error"] == str(error)
    return jobs, job


async def test_L1_a_failed_write_ends_the_gateway() -> None:
    jobs, _ = await ended(StorageWriteFailed("records", "No space left on device"))
    with pytest.raises(StorageWriteFailed):
        jobs.failed.result()


async def test_a_network_that_does_not_answer_ends_only_the_job() -> None:
    jobs, job = await ended(OutcomeUnknown(Hash32(bytes(32)), "no answer"))
    assert not jobs.failed.done()
    assert jobs.start() is not job
    await jobs.stop()
