"""How much one party may use: a budget that refills with time. Pure; the caller brings the time."""

from dataclasses import dataclass


@dataclass(slots=True)
class TokenBucket:
    """``rate`` units a second, saved up to ``burst`` units; full at first.

    Whoever has anything left may spend more than that and is in debt then, so that a single
    large cost passes and only the average is bounded. The debt is bounded by ``burst``, so
    nobody is shut out for longer than ``burst / rate`` seconds.
    """

    rate: int
    burst: int
    _thousandths: int = 0
    """What is left, in thousandths of a unit: whole milliseconds then refill without rounding."""
    _filled_at_ms: int | None = None

    def left(self, now_ms: int) -> int:
        """Units that are left; negative while in debt."""
        if self._filled_at_ms is None:
            self._thousandths, self._filled_at_ms = self.burst * 1000, now_ms
        elif now_ms > self._filled_at_ms:
            gained = self.rate * (now_ms - self._filled_at_ms)
            self._thousandths = min(self.burst * 1000, self._thousandths + gained)
            self._filled_at_ms = now_ms
        return self._thousandths // 1000

    def spend(self, units: int, now_ms: int) -> None:
        """Takes ``units``, whatever is left."""
        self.left(now_ms)
        self._thousandths = max(-self.burst * 1000, self._thousandths - units * 1000)

    def wait_ms(self, now_ms: int) -> int:
        """Milliseconds until something is left; 0 if it is."""
        left = self.left(now_ms)
        return 0 if left > 0 else ((1 - left) * 1000 + self.rate - 1) // self.rate
