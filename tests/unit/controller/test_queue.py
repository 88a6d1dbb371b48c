"""The queue: no key twice, no key lost, no key in two hands."""

import asyncio

from collabspace.controller.queue import KeyQueue, WorkKey

A, B, C = (WorkKey("task", "team", name) for name in "abc")


async def drained(queue: KeyQueue) -> list[WorkKey]:
    found = []
    while len(queue):
        key = await queue.get()
        queue.done(key)
        found.append(key)
    return found


async def test_keys_come_in_order_and_once() -> None:
    queue = KeyQueue()
    for key in (B, A, B, B, C):
        queue.add(key)
    assert await drained(queue) == [B, A, C]


async def test_urgent_keys_go_before_patient_ones_and_a_patient_key_may_become_urgent() -> None:
    queue = KeyQueue()
    queue.add(A, urgent=False)
    queue.add(B)
    assert queue.pressed
    queue.add(C)
    queue.add(A)
    queue.add(B, urgent=False)
    assert await drained(queue) == [B, C, A]
    assert not queue.pressed


async def test_namespaces_take_turns() -> None:
    queue = KeyQueue()
    flood = [WorkKey("task", "noisy", str(number)) for number in range(3)]
    for key in (*flood, A, B):
        queue.add(key)
    assert await drained(queue) == [flood[0], A, flood[1], B, flood[2]]


async def test_a_key_in_work_is_given_to_nobody_else_and_comes_again_when_it_was_added_meanwhile() -> None:
    queue = KeyQueue()
    queue.add(A)
    key = await queue.get()
    queue.add(A)
    queue.add(A)
    assert len(queue) == 0
    queue.done(key)
    assert await drained(queue) == [A]


async def test_a_waiting_worker_wakes_up() -> None:
    queue = KeyQueue()
    worker = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add(A)
    assert await worker == A


async def test_a_planned_look_is_replaced_by_a_newer_plan_and_taken_back_by_none() -> None:
    queue = KeyQueue()
    queue.later(A, 3600)
    queue.later(A, 0)
    queue.later(B, 0)
    queue.later(B, None)
    queue.later(C, 0.01)
    assert {await queue.get(), await queue.get()} == {A, C}
    assert len(queue) == 0


async def test_many_workers_see_every_key_exactly_as_often_as_needed() -> None:
    queue, at_work, seen = KeyQueue(), set[WorkKey](), dict[WorkKey, int]()
    keys = [WorkKey("task", "team", str(number)) for number in range(50)]

    async def work() -> None:
        while True:
            key = await queue.get()
            assert key not in at_work
            at_work.add(key)
            await asyncio.sleep(0)
            at_work.discard(key)
            seen[key] = seen.get(key, 0) + 1
            queue.done(key)

    workers = [asyncio.create_task(work()) for _ in range(8)]
    for _ in range(20):
        for key in keys:
            queue.add(key)
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        while len(queue) or at_work:  # noqa: ASYNC110 the queue tells nobody that it is empty, on purpose
            await asyncio.sleep(0)
    for worker in workers:
        worker.cancel()
    assert seen.keys() == set(keys)
    assert all(1 <= count <= 20 for count in seen.values())


async def test_a_shut_queue_takes_keys_and_hands_out_none_until_it_is_opened() -> None:
    queue = KeyQueue()
    queue.shut()
    worker = asyncio.create_task(queue.get())
    queue.add(A)
    await asyncio.sleep(0)
    assert not worker.done()
    queue.open()
    assert await worker == A


async def test_a_queue_is_idle_when_no_key_is_in_work() -> None:
    queue = KeyQueue()
    await queue.idle()
    for key in (A, B):
        queue.add(key)
    in_work = [await queue.get(), await queue.get()]
    idle = asyncio.create_task(queue.idle())
    queue.done(in_work[0])
    await asyncio.sleep(0)
    assert not idle.done()
    queue.done(in_work[1])
    await idle
