"""Who gets a session: as many as keep the pace that was promised."""

import pytest
from cospec.config import load_settings
from cospec.speculation.request import GenerationRequest, SpeculationMode
from cospec.speculation.sequence import Sequence
from cospec.speculation.slo import NO_SLO, Slo
from cospec.speculation.steering import Steering
from cospec.speculation.types import SamplingParameters

MANY = 30  # plain decoding of so many takes longer a token than is promised here, of one it does not
PROMISED = Slo(ttft=1.0, tpot=8e-3)


@pytest.fixture
def steering() -> Steering:
    return Steering(load_settings(), num_drafters=5, clock=lambda: 0.0)


def sequence(slo: Slo) -> Sequence:
    request = GenerationRequest((1, 2, 3), 32, SamplingParameters(), SpeculationMode(), slo=slo)
    return Sequence.create(1, request, lambda tokens: "", ("chat",))


def test_as_many_get_a_session_as_keep_the_pace_that_was_promised(steering: Steering) -> None:
    assert steering.has_room([], sequence(PROMISED))
    assert not steering.has_room([sequence(PROMISED)] * MANY, sequence(PROMISED))
    assert steering.has_room([sequence(NO_SLO)] * MANY, sequence(NO_SLO))


def test_who_was_promised_nothing_gives_way_to_who_was_promised_a_pace(steering: Steering) -> None:
    unpromised = [sequence(NO_SLO)] * MANY
    assert steering.has_room(unpromised, sequence(PROMISED))
    assert not steering.has_room([*unpromised, sequence(PROMISED)], sequence(NO_SLO))
