"""Who does not lead may not write; and what the Lease tells of the API server."""

import pytest

from collabspace.controller.leadership import OUTAGE_SECONDS, Leadership
from collabspace.controller.probes import Health
from collabspace.kube import config
from collabspace.kube.client import KubeClient, KubeError
from collabspace.kube.lease import Identity, Lease

NOWHERE = config.Access("http://127.0.0.1:9", None, lambda: None, "default", None, None, None)
AWAY = KubeError(0, "Unreachable", "away")


def leadership() -> Leadership:
    return Leadership(Lease(KubeClient(NOWHERE), "/leases", "one", Identity(None, "host")), Health())


async def test_who_has_not_the_lease_may_not_write() -> None:
    candidate = leadership()
    with pytest.raises(KubeError) as refused:
        candidate.permit()
    assert refused.value.transient
    assert not candidate.leading


async def test_one_answer_that_fails_to_come_is_no_outage() -> None:
    candidate = leadership()
    assert candidate.reachable() == 0
    candidate._heard("another")
    candidate._reached_since -= 100
    candidate._unheard(AWAY)
    assert candidate.reachable() > 99
    candidate._heard("another")
    assert candidate.reachable() > 99


async def test_after_an_outage_the_time_begins_anew() -> None:
    candidate = leadership()
    candidate._heard("another")
    candidate._reached_since -= 100
    candidate._heard_at -= OUTAGE_SECONDS
    assert candidate.reachable() == 0
    candidate._heard("another")
    assert 0 <= candidate.reachable() < 50
