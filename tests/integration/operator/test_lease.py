"""The rules of the Lease against a real API server; the passing of time is told, not waited for."""

import pytest

from collabspace.kube.client import KubeClient, KubeError
from collabspace.kube.lease import Identity, Lease, Terms

TERMS = Terms(duration=10, renew=2, retry=1, margin=2)


class Clock:
    """What every candidate of a test takes for the time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Candidates:
    def __init__(self, client: KubeClient, namespace: str) -> None:
        self.clock = Clock()
        self.client = client
        self.collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"

    def lease(self, instance: str | None = None) -> Lease:
        return Lease(self.client, self.collection, "one", Identity(instance, "host"), TERMS, self.clock)

    async def edit(self, **spec: object) -> None:
        await self.client.merge(f"{self.collection}/one", {"spec": spec})

    async def spec(self) -> dict[str, object]:
        spec: dict[str, object] = (await self.client.get(f"{self.collection}/one"))["spec"]
        return spec


@pytest.fixture
def candidates(admin: KubeClient, namespace: str) -> Candidates:
    return Candidates(admin, namespace)


async def test_the_first_holds_it_and_is_sure_for_less_than_the_others_wait(candidates: Candidates) -> None:
    first, second = candidates.lease(), candidates.lease()
    assert first.remaining() < 0
    assert await first.pursue() == first.identity.name
    assert await second.pursue() == first.identity.name
    assert first.remaining() == 8
    assert second.remaining() < 0
    candidates.clock.now += 8
    assert first.remaining() == 0
    assert await second.pursue() == first.identity.name


async def test_it_is_free_only_when_it_was_seen_unchanged_for_its_duration(candidates: Candidates) -> None:
    first, second = candidates.lease(), candidates.lease()
    await first.pursue()
    candidates.clock.now += 100  # the other has not looked yet: for it, the silence begins now
    assert await second.pursue() == first.identity.name
    candidates.clock.now += 9
    await first.pursue()
    assert await second.pursue() == first.identity.name
    candidates.clock.now += 9.9
    assert await second.pursue() == first.identity.name
    candidates.clock.now += 0.2
    assert await second.pursue() == second.identity.name
    assert (await candidates.spec())["leaseTransitions"] == 1


async def test_who_held_it_once_never_takes_it_back_from_another(candidates: Candidates) -> None:
    first, second = candidates.lease("one"), candidates.lease("two")
    await first.pursue()
    await second.pursue()
    candidates.clock.now += 10
    assert await second.pursue() == second.identity.name
    assert await first.pursue() == second.identity.name
    assert first.remaining() < 0
    candidates.clock.now += 1000
    assert await first.pursue() == second.identity.name


async def test_a_holder_that_came_too_late_goes_on_when_nobody_took_it(candidates: Candidates) -> None:
    first = candidates.lease()
    await first.pursue()
    candidates.clock.now += 1000
    assert first.remaining() < 0
    assert await first.pursue() == first.identity.name
    assert first.remaining() == 8


async def test_another_edit_of_the_object_does_not_unseat_the_holder(candidates: Candidates) -> None:
    first = candidates.lease()
    await first.pursue()
    await candidates.edit(leaseDurationSeconds=3)
    assert await first.pursue() == first.identity.name
    assert (await candidates.spec())["leaseDurationSeconds"] == 10
    await candidates.client.delete(f"{candidates.collection}/one")
    assert await first.pursue() == first.identity.name


async def test_a_released_one_is_taken_at_once(candidates: Candidates) -> None:
    first, second = candidates.lease(), candidates.lease()
    await first.pursue()
    await second.pursue()
    await first.release()
    assert first.remaining() < 0
    assert await second.pursue() == second.identity.name


async def test_a_process_of_the_same_instance_succeeds_its_predecessor_at_once_and_for_good(
    candidates: Candidates,
) -> None:
    before, after = candidates.lease("pod-1"), candidates.lease("pod-1")
    await before.pursue()
    assert await after.pursue() == after.identity.name
    # Were the predecessor not dead after all, it would end at its next look instead of taking the Lease back.
    assert await before.pursue() == after.identity.name


async def test_an_instance_of_a_longer_name_is_no_predecessor(candidates: Candidates) -> None:
    before, after = candidates.lease("pod-10"), candidates.lease("pod-1")
    await before.pursue()
    assert await after.pursue() == before.identity.name


async def test_two_that_reach_for_it_at_once_do_not_both_get_it(candidates: Candidates) -> None:
    first, second, third = (candidates.lease() for _ in range(3))
    await third.pursue()
    for each in (first, second):
        await each.pursue()
    candidates.clock.now += 10
    await first._look()
    await second._look()
    record = second._sight.record
    assert await first.pursue() == first.identity.name
    assert not await second._write(record)
    assert second.remaining() < 0


async def test_a_duration_beyond_all_sense_does_not_keep_a_dead_holders_place(candidates: Candidates) -> None:
    first, second = candidates.lease(), candidates.lease()
    await first.pursue()
    await candidates.edit(leaseDurationSeconds=2_000_000_000)
    await second.pursue()
    candidates.clock.now += 61
    assert await second.pursue() == second.identity.name


async def test_what_may_not_be_written_never_reaches_the_api_server(
    candidates: Candidates, admin: KubeClient, namespace: str
) -> None:
    answers = iter([5.0])

    def permit() -> float:
        """Leave when the request is made, none any more when its bytes are to be sent."""
        left = next(answers, None)
        if left is None:
            raise KubeError(0, "NotLeading", "no")
        return left

    path = f"/api/v1/namespaces/{namespace}/configmaps"
    async with KubeClient(admin.access, permit=permit) as client:
        await client.list(path)
        for _ in range(2):
            with pytest.raises(KubeError) as refused:
                await client.create(path, {"metadata": {"name": "late"}})
            assert refused.value.transient
    found = await admin.list(path)
    assert "late" not in [item["metadata"]["name"] for item in found["items"]]
