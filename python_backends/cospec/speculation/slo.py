"""Service-level objectives of a request, and what they ask of its next round (AdaServe's required progress)."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Slo:
    """Seconds; infinite where nothing is promised."""

    ttft: float = math.inf  # to the first token
    tpot: float = math.inf  # per output token after the first
    name: str = ""  # of its class; empty: the request's own values, or none

    @property
    def promises(self) -> bool:
        return math.isfinite(self.ttft) or math.isfinite(self.tpot)


NO_SLO = Slo()
GIVEN_UP = 6.0  # tokens behind its pace
ON_TIME_WITHIN = 32  # tokens, for who is behind: a text may end before its limit


@dataclass(frozen=True)
class Progress:
    """Of one request, at one moment."""

    slo: Slo
    waited: float  # seconds since it was submitted
    decoding: float  # seconds since its first token; 0 before
    tokens: int  # output tokens so far

    def needed(self, round_seconds: float) -> float:
        """Tokens that its next round must bring to be on time at its end; below 1, it is ahead."""
        if not self.tokens or math.isinf(self.slo.tpot):
            return 0.0
        return (self.decoding + round_seconds) / self.slo.tpot - (self.tokens - 1)

    def allowance(self, remaining: int) -> float:
        """Seconds that each of the next tokens may take, for them to be on time; infinite where nothing is promised, or
        no longer to be kept. `remaining`: tokens that it may still bring."""
        if not self.tokens or math.isinf(self.slo.tpot) or not self.intact:
            return math.inf
        tokens = max(1, min(remaining, ON_TIME_WITHIN))
        return max(0.0, self.slo.tpot * (self.tokens - 1 + tokens) - self.decoding) / tokens

    @property
    def intact(self) -> bool:
        """Whether every promise can still be kept."""
        return self.waited <= self.slo.ttft and self.needed(0.0) < GIVEN_UP

    def slack(self, tokens: float) -> float:
        """Seconds that its next round may take and still be on time, if it brings so many tokens; below 0: too late."""
        if not self.tokens:
            return self.slo.ttft - self.waited
        return (self.tokens - 1 + tokens) * self.slo.tpot - self.decoding

    def met(self, latency: float) -> dict[str, bool]:
        """Which promises were kept, `latency` being the whole request's seconds."""
        kept = {}
        if math.isfinite(self.slo.ttft):
            kept["ttft"] = self.waited <= self.slo.ttft
        if math.isfinite(self.slo.tpot):
            kept["tpot"] = self.tokens <= 1 or (latency - self.waited) / (self.tokens - 1) <= self.slo.tpot
        return kept
