"""What this machine gives: the garbage collector is left as it was found."""

from __future__ import annotations

import gc

import pytest

from mergekit_mo.machine import uncollected


@pytest.mark.parametrize("before", [True, False])
def test_the_collector_rests_for_a_block_and_is_then_as_it_was(before: bool) -> None:
    found = gc.isenabled()
    try:
        (gc.enable if before else gc.disable)()
        with uncollected():
            assert not gc.isenabled()
        assert gc.isenabled() is before
        with pytest.raises(KeyError), uncollected():
            raise KeyError
        assert gc.isenabled() is before
    finally:
        (gc.enable if found else gc.disable)()
