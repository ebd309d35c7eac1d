"""What promises of drafted rounds were worth."""

import pytest
from cospec.speculation.track_record import KNOWN, STALE, STALE_AT_FIRST, TrackRecord


def test_promises_are_believed_until_they_were_tried() -> None:
    assert TrackRecord().factor(8) == 1.0


def test_what_is_kept_by_half_is_believed_by_half_at_that_size_alone() -> None:
    record = TrackRecord()
    for _ in range(60):
        record.observe(20, 100.0, 50.0)
    assert record.factor(20) == pytest.approx(0.53, abs=0.05)
    assert record.factor(31) == record.factor(20) and record.factor(2) == 1.0


def test_luck_and_bad_luck_even_out() -> None:
    record = TrackRecord()
    for number in range(200):
        record.observe(1, 100.0, 190.0 if number % 2 else 10.0)
    assert record.factor(1) == pytest.approx(1.0, abs=0.1)


def test_rounds_that_take_long_count_for_as_much_as_they_bring() -> None:
    """1 token in 8 ms and 9 in 14 are 10 in 22, and not the mean of two rates."""
    record, promised = TrackRecord(), 10 / 0.022
    for _ in range(100):
        record.observe(1, 0.008 * promised, 1.0)
        record.observe(1, 0.014 * promised, 9.0)
    assert record.factor(1) == pytest.approx(1.0, abs=0.05)


def test_an_old_record_is_forgotten_where_nobody_drafts() -> None:
    record = TrackRecord()
    for _ in range(20):
        record.observe(20, 100.0, 50.0)
    for _ in range(2_000):
        record.forget(20)
    assert record.factor(20) > 0.9


def test_what_has_not_happened_for_long_is_due_for_a_try_and_sooner_while_little_is_known() -> None:
    record = TrackRecord()
    for _ in range(STALE_AT_FIRST):
        assert not record.is_stale(5)
        record.forget(5)
    assert record.is_stale(5) and not record.is_stale(50)
    for _ in range(KNOWN):
        record.observe(5, 1.0, 1.0)
    for _ in range(STALE):
        assert not record.is_stale(5)
        record.forget(5)
    assert record.is_stale(5)
