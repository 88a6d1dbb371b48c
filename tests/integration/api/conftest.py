"""One team for all tests of a module, with a trainer that the operator's account has started in it."""

import uuid
from collections.abc import Iterator

import pytest
from guards_harness import TASK, Team

from collabspace.api import names
from collabspace.local.cluster import LocalCluster


@pytest.fixture(scope="module")
def team(cluster: LocalCluster) -> Iterator[Team]:
    team = Team.make(cluster, f"guarded-{uuid.uuid4().hex[:6]}")
    yield team
    team.admin.did("delete", "namespace", team.name, "--wait=false")


@pytest.fixture(scope="module")
def trainer(team: Team) -> Iterator[str]:
    """Name of the pod of a task's first attempt."""
    pod = team.trainer()
    yield pod
    # No kubelet ends it, and the Job controller lets go of a running pod when its Job is gone.
    team.admin.did("delete", "job", names.job_name(TASK, 1), "--wait=false")
    team.admin.did("delete", "pod", pod, "--grace-period=0", "--force", "--ignore-not-found")
