"""An alias changes once for each key, from what it was seen to be, to a model that is whole; whoever dies meanwhile."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alias_world import TEAM, TEAM_UID, Fate, Killed, Team, team

from collabspace.broker.aliases import pointer_name
from collabspace.broker.refusal import Refused

KEY = "uid-of-selection/1"


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Team]:
    async with team(tmp_path) as made:
        yield made


async def test_a_key_promotes_once_also_after_others_have_set_the_alias_since(lab: Team) -> None:
    first, second = lab.result("first"), lab.result("second")
    async with lab.broker() as broker:
        state = await broker.promote(first, KEY)
        assert (state.digest, state.task, state.keys, state.previous) == (first[1], "first", [KEY], [])
        assert await broker.promote(first, KEY) == state
        later = await broker.promote(second, "by-hand", replaces=first[1])
        assert (later.previous, later.last and later.last.task_uid) == ([first[1]], first[0])
        assert await broker.promote(first, KEY) == later, "an old key is answered with what stands now"
        assert broker.promotions() == [(first[1], "production"), (second[1], "production")]
        feed = await broker.knowledge.feed("", 0)
        assert feed.aliases == [later]


async def test_an_alias_that_does_not_stand_for_what_was_seen_stays(lab: Team) -> None:
    first, second = lab.result("first"), lab.result("second")
    async with lab.broker() as broker:
        await broker.promote(first, KEY)
        for replaces in (None, second[1]):
            with pytest.raises(Refused) as refused:
                await broker.promote(second, "late", replaces=replaces)
            assert refused.value.reason == "AliasMoved" and first[1] in refused.value.message
        with pytest.raises(Refused) as refused:
            await broker.promote(second, "other", replaces=first[1], alias="unset")
        assert "stands for nothing yet" in refused.value.message
        assert [state.alias for state in await broker.aliases.of(TEAM_UID)] == ["production"]
        assert len(broker.promotions()) == 1


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({"metrics.json": b"{}", "model/model.safetensors": b"x"}, "DONE"),
        ({"DONE": b"", "metrics.json": b"{}"}, "no model"),
    ],
)
async def test_what_is_no_whole_model_is_not_promoted(lab: Team, files: dict[str, bytes], fault: str) -> None:
    half = lab.result("half", files=files)
    async with lab.broker() as broker:
        with pytest.raises(Refused) as refused:
            await broker.promote(half, KEY)
        assert refused.value.reason == "ResultIncomplete" and fault in refused.value.message
        assert broker.promotions() == []


@pytest.mark.parametrize("damage", ["changed", "shortened", "removed"])
async def test_a_model_whose_bytes_are_not_what_they_were_is_not_promoted(lab: Team, damage: str) -> None:
    broken = lab.result("broken")
    blob = max((lab.folder / "store" / broken[0] / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    content = blob.read_bytes()
    blob.unlink()
    if damage != "removed":
        blob.write_bytes(content[:-1] + b"?" if damage == "changed" else content[:-1])
    async with lab.broker() as broker:
        with pytest.raises(Refused) as refused:
            await broker.promote(broken, KEY)
        assert "model/model.safetensors" in refused.value.message
        assert await broker.aliases.of(TEAM_UID) == []


async def test_results_of_others_and_of_nobody_are_not_promoted(lab: Team) -> None:
    uid, digest = lab.result("ours")
    lab.tasks.clear()
    async with lab.broker() as broker:
        for wrong in ((uid, digest), ("uid-of-nobody", digest)):
            with pytest.raises(Refused) as refused:
                await broker.promote(wrong, KEY)
            assert "no task of this namespace" in refused.value.message


async def test_what_an_alias_stood_for_last_can_be_set_back_when_its_task_is_gone(lab: Team) -> None:
    first, second, third = (lab.result(name) for name in ("first", "second", "third"))
    async with lab.broker() as broker:
        await broker.promote(first, "1")
        await broker.promote(second, "2", replaces=first[1])
        assert await broker.aliases.keeps(TEAM, first[0]) and await broker.aliases.keeps(TEAM, second[0])
        lab.tasks.clear()
        back = await broker.promote(first, "back", replaces=second[1])
        assert (back.task, back.digest) == ("first", first[1])
        lab.tasks["third"] = third[0]
        await broker.promote(third, "3", replaces=first[1])
        assert not await broker.aliases.keeps(TEAM, second[0]), "of two before, the older one is let go"
        with pytest.raises(Refused):
            await broker.promote(second, "4", replaces=third[1])


async def test_whoever_dies_before_or_after_any_write_leaves_one_promotion_to_a_whole_model(tmp_path: Path) -> None:
    async def killed_at(moment: int | None) -> int:
        folder = tmp_path / f"{moment}"
        folder.mkdir()
        fate = Fate()
        async with team(folder) as lab:
            champion, winner = lab.result("champion"), lab.result("winner")
            async with lab.broker() as broker:
                await broker.promote(champion, "first")
            fate.deadly = moment
            try:
                async with lab.broker(fate) as broker:
                    await broker.aliases.restore()
                    await broker.promote(winner, KEY, replaces=champion[1])
            except Killed:
                pass
            async with lab.broker() as broker:
                await broker.aliases.restore()
                (state,) = await broker.aliases.of(TEAM_UID)
                recorded = [version for version, _ in broker.promotions()]
                assert recorded == [champion[1], winner[1]][: 1 + (state.digest == winner[1])], "record and swap agree"
                state = await broker.promote(winner, KEY, replaces=champion[1])
                assert (state.digest, state.keys) == (winner[1], [KEY, "first"])
                assert [version for version, _ in broker.promotions()] == [champion[1], winner[1]]
                assert broker.ledger.verify("decisions").ok
        return fate.moments

    writes = await killed_at(None)
    assert writes >= 6, "the settling of what was, the swap, its record: before and after each"
    for moment in range(writes):
        await killed_at(moment)


async def test_a_promotion_whose_record_failed_is_recorded_by_the_next_look(lab: Team) -> None:
    first = lab.result("first")
    # Nothing was there to settle: 0 and 1 are the swap, 2 comes before its record.
    async with lab.broker(Fate(2)) as broker:
        with pytest.raises(Killed):
            await broker.promote(first, KEY)
        assert broker.promotions() == []
        await broker.aliases.settle()
        assert broker.promotions() == [(first[1], "production")]
        await broker.aliases.settle()
        assert len(broker.promotions()) == 1


async def test_a_pointer_that_cannot_be_read_stops_nothing_but_what_rests_on_it(lab: Team) -> None:
    first, second = lab.result("first"), lab.result("second")
    async with lab.broker() as broker:
        await broker.promote(first, KEY)
    lab.store.swap_pointer(TEAM_UID, pointer_name("newer"), b'{"of": "another release"}', None)
    async with lab.broker() as broker:
        await broker.aliases.restore()
        assert [state.alias for state in await broker.aliases.of(TEAM_UID)] == ["production"]
        for decided in (broker.promote(second, "2", alias="newer"), broker.aliases.keeps(TEAM, second[0])):
            with pytest.raises(OSError, match="no alias of this release"):
                await decided
        assert (await broker.promote(second, "3", replaces=first[1])).digest == second[1]
