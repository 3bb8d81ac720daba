from collections.abc import Iterator

from mergekit_mo.optimizers._new import first_new

A, B, C = (0.0,), (0.5,), (1.0,)


def test_each_new_point_comes_once_and_in_order() -> None:
    assert first_new([C, A, C, B, A], 5) == [C, A, B]


def test_what_is_taken_in_any_part_is_left_out() -> None:
    assert first_new([A, B, C], 3, {A}, frozenset({C})) == [B]


def test_no_more_is_drawn_than_is_needed() -> None:
    drawn = []

    def endless() -> Iterator[tuple[float, ...]]:
        for i in range(10**9):
            drawn.append(i)
            yield (float(i // 2),)

    assert first_new(endless(), 2, {(0.0,)}) == [(1.0,), (2.0,)]
    assert len(drawn) == 5
    assert first_new(endless(), 0) == []
    assert first_new(endless(), -1) == []
    assert len(drawn) == 5
