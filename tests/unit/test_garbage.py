import gc
from collections.abc import Iterator

import pytest
from cospec.garbage import YOUNG, spare_what_is_loaded


@pytest.fixture
def collector() -> Iterator[None]:
    """As it was before, afterwards."""
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("collector")
def test_the_collector_looks_no_more_at_what_was_loaded() -> None:
    loaded = [[] for _ in range(1000)]
    spare_what_is_loaded()
    assert gc.get_freeze_count() > len(loaded)
    assert not any(each is loaded for each in gc.get_objects())


@pytest.mark.usefixtures("collector")
def test_the_collector_still_finds_later_cycles() -> None:
    spare_what_is_loaded()
    cycle: list[object] = []
    cycle.append(cycle)
    del cycle
    assert gc.collect() >= 1
    assert gc.get_threshold()[0] == YOUNG
