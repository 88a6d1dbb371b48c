"""What is held and fits nowhere, as on a cluster that is being drained, presses on whichever node has most left."""

from hypothesis import given
from hypothesis import strategies as st

from collabspace.core.admission import Node, _Capacity, _size
from collabspace.core.quantity import Amount

amounts = st.builds(Amount, st.integers(0, 4), st.integers(1, 8).map(lambda n: 1_000 * n), st.integers(1, 32))


@given(rooms=st.lists(amounts, min_size=1, max_size=8), held=amounts, times=st.integers(0, 40))
def test_each_takes_from_the_emptiest_node(rooms: list[Amount], held: Amount, times: int) -> None:
    nodes = [Node(f"node-{number}", room) for number, room in enumerate(rooms)]
    fitting = sum(held.count_in(room, times) for room in rooms)
    wanted = _Capacity(nodes, {held: min(times, fitting)})._free
    for _ in range(times - fitting):
        emptiest = max(range(len(wanted)), key=lambda index: _size(wanted[index]))
        wanted[emptiest] -= held
    assert _Capacity(nodes, {held: times})._free == wanted
