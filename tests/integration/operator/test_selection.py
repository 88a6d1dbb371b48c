"""A ModelSelection from kubectl apply to the alias, with tasks ended by hand."""

import signal

import pytest
from operator_harness import (
    JOBS,
    TASKS,
    FakeBroker,
    OperatorProcess,
    Teams,
    condition,
    conditions,
    gone,
    task_body,
)
from selection_harness import PROMOTION, SELECTIONS, Selections, board, row

from collabspace.api.run import InitialModel
from collabspace.core import job
from collabspace.kube.client import KubeClient, KubeError

AHEAD = ("linear", "0.1", "0.05", "0.15")


@pytest.fixture
async def selections(teams: Teams, broker: FakeBroker) -> Selections:
    return Selections(teams, broker)


async def test_the_best_candidate_becomes_the_alias_and_nothing_is_left_when_the_selection_is_deleted(
    selections: Selections, admin: KubeClient, broker: FakeBroker
) -> None:
    await selections.start(promotion=PROMOTION)
    await selections.score("sel-linear", "0.8")
    await selections.score("sel-network", "0.9")
    await selections.until("Comparing")
    await selections.compare("sel-choose", AHEAD)
    await selections.compare("sel-final", ("baseline", "0.1", "0.05", "0.15"))
    done = await selections.until("Completed")
    assert condition(done, "Succeeded") == ("True", "Completed")
    status = done["status"]
    assert [(each["rank"], each["candidate"]) for each in status["leaderboard"]] == [(1, "network"), (2, "linear")]
    assert status["winner"]["taskName"] == "sel-network"
    assert [(each["rival"], each.get("verdict")) for each in status["comparison"]] == [
        ("Winner", ""),
        ("Baseline", "Undecided"),
    ]
    assert status["promotion"]["state"] == "Promoted"
    assert broker.aliases[selections.team, "best"]["digest"] == status["winner"]["resultDigest"]
    await admin.delete(f"{SELECTIONS.format(selections.team)}/sel")
    for name in ("sel-linear", "sel-network", "sel-choose", "sel-final"):
        await gone(admin, TASKS.format(selections.team), name)


async def test_figures_that_are_missing_or_absurd_and_failures_leave_the_others_to_be_ranked(
    selections: Selections,
) -> None:
    await selections.start(
        parallelism=4,
        candidates=[
            {"name": "silent", "method": "LogisticRegression"},
            {"name": "absurd", "method": "LogisticRegression", "parameters": {"C": 2}},
            {"name": "broken", "method": "LogisticRegression", "parameters": {"C": 3}},
            {"name": "sound", "method": "LogisticRegression", "parameters": {"C": 4}},
        ],
    )
    await selections.end("sel-silent", row("accuracy", "0.9"))
    await selections.end("sel-absurd", row("accuracy", "17", split="validation"))
    await selections.end("sel-broken", code=20)
    await selections.score("sel-sound", "0.3")
    done = await selections.until("Completed")
    assert board(done) == {
        "sound": ("Ranked", ""),
        "silent": ("Excluded", "MetricMissing"),
        "absurd": ("Excluded", "MetricInvalid"),
        "broken": ("Excluded", "DataError"),
    }
    assert done["status"]["winner"]["candidate"] == "sound"


async def test_when_all_fail_nothing_is_promoted(selections: Selections, broker: FakeBroker) -> None:
    await selections.start(promotion=PROMOTION, parallelism=2)
    for name in ("sel-linear", "sel-network"):
        await selections.end(name, code=20)
    stalled = await selections.until("NoWinner")
    assert condition(stalled, "Stalled") == ("True", "NoWinner")
    assert (selections.team, "best") not in broker.aliases


async def test_what_the_budget_does_not_cover_is_not_started(selections: Selections) -> None:
    long = {"name": "network", "method": "NeuralNetwork", "parameters": {"epochs": 1000}}
    linear = {"name": "linear", "method": "LogisticRegression"}
    await selections.start(budget={"cpuSeconds": 11}, candidates=[long, linear])
    made = await selections.task("sel-linear")
    assert made["spec"]["budget"] == {"cpuSeconds": 11}
    await selections.score("sel-linear", "0.8")
    done = await selections.until("Completed")
    assert board(done) == {"linear": ("Ranked", ""), "network": ("Skipped", "BudgetExhausted")}
    assert await selections.names() == ["sel-linear"]


async def test_suspend_and_resume_reach_every_task(selections: Selections, admin: KubeClient) -> None:
    await selections.start()
    await selections.task("sel-linear", "Starting")
    path = f"{SELECTIONS.format(selections.team)}/sel"
    await admin.merge(path, {"spec": {"suspend": True}})
    await selections.until("Suspended")
    pod = await selections.teams.leaving_pod(selections.team, "sel-linear")
    await admin.delete(f"/api/v1/namespaces/{selections.team}/pods/{pod['metadata']['name']}", grace_seconds=0)
    await selections.task("sel-linear", "Suspended")
    assert (await admin.get(f"{TASKS.format(selections.team)}/sel-linear"))["spec"]["suspend"] is True
    await admin.merge(path, {"spec": {"suspend": False}})
    await selections.task("sel-linear", "Starting")


async def test_a_task_of_the_name_that_a_candidate_needs_is_left_alone(
    selections: Selections, admin: KubeClient
) -> None:
    selections.team = await selections.teams.ready()
    body = task_body("sel-network", selections.team)
    foreign = await admin.create(TASKS.format(selections.team), body)
    await selections.make()
    await selections.score("sel-linear", "0.8")
    done = await selections.until("Completed")
    assert board(done)["network"] == ("Excluded", "NameConflict")
    now = await admin.get(f"{TASKS.format(selections.team)}/sel-network")
    assert (now["metadata"]["uid"], now["spec"]) == (foreign["metadata"]["uid"], foreign["spec"])


async def test_a_wrong_goal_is_refused_by_name_and_the_corrected_spec_runs(
    selections: Selections, admin: KubeClient
) -> None:
    await selections.start(objective={"metric": "log_loss", "goal": "Maximize"})
    refused = await selections.until("InvalidSpec")
    assert "write Minimize" in conditions(refused)["Accepted"]["message"]
    assert await selections.names() == []
    path = f"{SELECTIONS.format(selections.team)}/sel"
    await admin.merge(path, {"spec": {"objective": {"goal": "Minimize"}}})
    await selections.task("sel-linear")


async def test_an_accepted_spec_is_frozen_but_for_suspend(selections: Selections, admin: KubeClient) -> None:
    await selections.start()
    await selections.task("sel-linear")
    with pytest.raises(KubeError, match="frozen"):
        await admin.merge(f"{SELECTIONS.format(selections.team)}/sel", {"spec": {"seeds": 3}})


async def test_a_selection_waits_for_a_grant_and_starts_by_itself(selections: Selections, teams: Teams) -> None:
    owner = await teams.ready()
    selections.team = await teams.team()
    data = [{"name": "train", "datasetRef": {"namespace": owner, "name": "table"}}]
    await selections.make(datasets=data)
    await selections.until("GrantMissing")
    await teams.grant(owner, selections.team)
    made = await selections.task("sel-linear")
    assert made["spec"]["datasets"][0]["version"].startswith("sha256:")


async def test_a_task_starts_from_the_result_of_another_once_that_is_stored(
    selections: Selections, teams: Teams, admin: KubeClient
) -> None:
    selections.team = team = await teams.ready()
    await teams.task(team, "first")
    source = {"kind": "CollabTask", "namespace": team, "name": "first"}
    data = [{"name": "new", "datasetRef": {"namespace": team, "name": "table"}, "role": "Evaluate"}]
    await teams.task(team, "measures", method="Evaluation", modelFrom=source, datasets=data)
    await teams.until_reason(team, "measures", "DatasetNotReady")
    alias = {"kind": "Alias", "namespace": team, "name": "best"}
    await teams.task(team, "by-alias", method="Evaluation", modelFrom=alias, datasets=data)
    await teams.until_reason(team, "by-alias", "DatasetNotReady")
    made = await selections.end("first")
    await teams.until_reason(team, "measures", "Starting")
    done = await teams.until_reason(team, "first", "Completed")
    uid, stored = made["metadata"]["uid"], done["status"]["result"]["digest"]
    selections.broker.alias(team, "best", uid, "first", stored)
    await teams.until_reason(team, "by-alias", "Starting")
    for name in ("measures", "by-alias"):
        run = job.document(await admin.get(f"{JOBS.format(team)}/{name}-1"))
        assert run.training.initial_model == InitialModel(uid=uid, digest=stored)


async def test_the_operator_killed_between_any_two_steps_promotes_once(
    selections: Selections, operator: OperatorProcess, broker: FakeBroker
) -> None:
    """The kill points around the promotion itself are in test_promotion_kills."""
    await selections.start(promotion=PROMOTION)

    async def restart() -> None:
        assert operator.stop(signal.SIGKILL) == -signal.SIGKILL
        operator.start()

    await selections.score("sel-linear", "0.8")
    await restart()
    await selections.score("sel-network", "0.9")
    await restart()
    await selections.compare("sel-choose", AHEAD)
    await selections.task("sel-final")
    await restart()
    await selections.compare("sel-final", ("baseline", "0.1", "0.05", "0.15"))
    done = await selections.until("Completed")
    assert done["status"]["promotion"]["state"] == "Promoted"
    assert len(broker.aliases[selections.team, "best"]["keys"]) == 1
    assert await selections.names() == ["sel-choose", "sel-final", "sel-linear", "sel-network"]
