"""Promises to a request, and what they ask of its next round."""

import math

import pytest
from cospec.config import SloSettings
from cospec.speculation.request import InvalidRequest, RequestFields, RequestLimits, build_request
from cospec.speculation.slo import NO_SLO, Progress, Slo

LIMITS = RequestLimits(1024, 128, ("math",), 16, {"interactive": SloSettings(500, 50), "batch": SloSettings()})


def slo_of(**fields: object) -> Slo:
    return build_request(RequestFields("a", **fields), (1, 2), LIMITS, lambda: 0).slo  # type: ignore[arg-type]


def test_a_class_promises_what_settings_say_and_a_request_may_ask_for_more() -> None:
    assert slo_of(slo_class="interactive") == Slo(0.5, 0.05, "interactive")
    assert slo_of(slo_class="interactive", slo_tpot_ms=20.0) == Slo(0.5, 0.02, "interactive")
    assert slo_of(slo_class="batch") == Slo(math.inf, math.inf, "batch")
    assert slo_of() == NO_SLO and not NO_SLO.promises


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-321, math.nan, math.inf, 10**400])
@pytest.mark.parametrize("name", ["slo_ttft_ms", "slo_tpot_ms"])
def test_a_promise_that_means_nothing_is_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidRequest, match=f"{name} must be from 0.001 to 1000000000, got"):
        slo_of(**{name: value})


def test_an_unknown_class_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidRequest, match="slo_class must be one of interactive, batch, got 'gold'"):
        slo_of(slo_class="gold")


def test_who_is_behind_needs_more_than_one_token() -> None:
    slo = Slo(tpot=0.05)
    behind = Progress(slo, waited=0.1, decoding=1.0, tokens=16)
    ahead = Progress(slo, waited=0.1, decoding=0.5, tokens=16)
    assert behind.needed(0.05) == pytest.approx(6.0)
    assert ahead.needed(0.05) < 1
    assert Progress(NO_SLO, 0.1, 1.0, 3).needed(1.0) == 0


def test_who_is_behind_has_less_time_a_token_and_who_cannot_be_on_time_any_more_has_no_claim() -> None:
    slo = Slo(tpot=0.05)
    behind, ahead, lost = (Progress(slo, 0.1, decoding, tokens=16) for decoding in (0.95, 0.55, 1.2))
    assert behind.allowance(10) == pytest.approx(0.03) and ahead.allowance(10) == pytest.approx(0.07)
    assert behind.allowance(1000) < 0.05, "its text may end before its limit"
    assert lost.allowance(10) == Progress(NO_SLO, 0.1, 0.5, 16).allowance(10) == math.inf


def test_slack_is_the_time_until_a_promise_breaks() -> None:
    slo = Slo(ttft=0.5, tpot=0.05)
    assert Progress(slo, waited=0.2, decoding=0, tokens=0).slack(1) == pytest.approx(0.3)
    assert Progress(slo, waited=0.2, decoding=0.1, tokens=4).slack(2) == pytest.approx(0.15)
    assert Progress(slo, waited=0.2, decoding=9.0, tokens=4).slack(2) < 0


def test_what_was_kept_is_told_for_what_was_promised() -> None:
    late_first = Progress(Slo(ttft=0.1, tpot=0.05), waited=0.2, decoding=0.4, tokens=11)
    assert late_first.met(latency=0.6) == {"ttft": False, "tpot": True}
    assert Progress(NO_SLO, 0.2, 0.4, 11).met(0.6) == {}
