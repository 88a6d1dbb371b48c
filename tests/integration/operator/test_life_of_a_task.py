"""From kubectl apply to the end: what the operator does about a good task, and how little it asks of the API server."""

from operator_harness import (
    Audit,
    FakeBroker,
    Teams,
    calls,
    digest,
    end_record,
)


async def test_a_task_costs_two_writes_and_no_read_until_its_job_runs_and_two_more_until_it_ends(
    teams: Teams, audit: Audit, broker: FakeBroker
) -> None:
    team = await teams.ready()
    await teams.task(team, "warm-up")
    await teams.until_reason(team, "warm-up", "Starting")
    async with audit.record() as first:
        made = await teams.task(team, "counted", gpu=1)
        await teams.until_reason(team, "counted", "Starting")
    assert calls(first, team) == [("create", "jobs"), ("patch", "collabtasks/status")]
    async with audit.record() as second:
        await teams.run_pod(team, "counted")
        await teams.until_reason(team, "counted", "Training")
    assert calls(second, team) == [("patch", "collabtasks/status")]
    result = digest("result")
    async with audit.record() as third:
        broker.committed(made["metadata"]["uid"], result)
        await teams.end_pod(team, "counted", message=end_record(result))
        await teams.until_reason(team, "counted", "Completed")
    assert calls(third, team) == [("patch", "collabtasks/status")]
