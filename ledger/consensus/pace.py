"""How long a replica waits: which timers run, how they back off, and a primary's lateness."""

from ledger.consensus.effects import CancelTimer, Effects, SetTimer
from ledger.consensus.events import Timer
from ledger.consensus.phases import Settings

TIMEOUT_DOUBLINGS_MAX = 6
"""Back-off stops growing at 64 times the base; the f+1 rule realigns views meanwhile (V1)."""
LATE_MAX = 8
"""A primary that was late so much more often than in time is replaced, although it proposes."""


class Pace:
    """The timers of one replica; what they need done is appended to ``effects``."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._running: set[Timer] = set()
        self._failures = 0
        self._late = 0
        self.effects: Effects = []

    def runs(self, timer: Timer) -> bool:
        """Whether it was set, and neither fired nor was cancelled."""
        return timer in self._running

    def fired(self, timer: Timer) -> None:
        """It does not run any more."""
        self._running.discard(timer)

    def resend(self) -> None:
        """(Re)starts the timer of repetitions."""
        self._set(Timer.RESEND, self._settings.resend_interval_ms)

    def view_failed(self) -> None:
        """The next view is given twice the time."""
        self._failures += 1

    def committed(self, same_primary: bool) -> None:
        """A height is done: no back-off; another primary begins without lateness."""
        self._failures = 0
        self._cancel(Timer.PROGRESS, Timer.PATIENCE)
        if not same_primary:
            self._late = 0

    def view_left(self) -> None:
        """All that was waited for belonged to the view."""
        self._late = 0
        self._cancel(Timer.PROGRESS, Timer.PATIENCE, Timer.NEW_VIEW)

    def await_new_view(self) -> None:
        """q replicas left for a view; runs once, and is not postponed."""
        if Timer.NEW_VIEW not in self._running:
            self._set(Timer.NEW_VIEW, self._timeout_ms())

    def await_proposal(self, of_another: bool) -> None:
        """Work is pending; unless it is waited for already: new work must not postpone it (V1)."""
        if Timer.PROGRESS not in self._running:
            self._set(Timer.PROGRESS, self._timeout_ms())
            if of_another:
                self._set(Timer.PATIENCE, self._timeout_ms() // 2)

    def proposal_came(self) -> None:
        """From now on its commit is waited for. In time is what came before patience ended."""
        self._set(Timer.PROGRESS, self._timeout_ms())
        if Timer.PATIENCE in self._running:
            self._cancel(Timer.PATIENCE)
            self._late = max(0, self._late - 1)

    def is_too_slow(self) -> bool:
        """Patience ended once more: whether the primary now counts as slow (V4)."""
        self._late += 1
        return self._late >= LATE_MAX

    def _timeout_ms(self) -> int:
        return self._settings.progress_timeout_ms << min(self._failures, TIMEOUT_DOUBLINGS_MAX)

    def _set(self, timer: Timer, delay_ms: int) -> None:
        self._running.add(timer)
        self.effects.append(SetTimer(timer, delay_ms))

    def _cancel(self, *timers: Timer) -> None:
        for timer in timers:
            self._running.discard(timer)
            self.effects.append(CancelTimer(timer))
