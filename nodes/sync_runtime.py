"""The asyncio shell around the state sync: frames, ticks, and its end. No rule is here."""

import asyncio

from ledger.primitives import MemberId
from nodes.state_sync import StateSync


class SyncRuntime:
    """A node that has no chain yet."""

    def __init__(self, sync: StateSync) -> None:
        self._sync = sync
        self._woken = asyncio.Event()
        self._failure: Exception | None = None

    def on_frame(self, peer: MemberId, data: bytes) -> None:
        """One frame from a connected validator."""
        if self._failure is not None:
            return
        try:
            self._sync.on_frame(peer, data)
        except Exception as error:  # noqa: BLE001  # handed to the owner of ``run``
            self._failure = error
        self._woken.set()

    async def run(self) -> None:
        """Until the driver may start; raises what ended it, such as a failed write."""
        while not self._sync.done:
            if self._failure is not None:
                raise self._failure
            idle_ms = self._sync.tick()
            self._woken.clear()
            try:
                # Also where nothing is to be waited for, links and signals get their turn.
                await asyncio.wait_for(self._woken.wait(), idle_ms / 1000)
            except TimeoutError:
                continue
