"""What the broker proves of its store before it gives out links: on a server that denies, and one that does not."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from radosgw_server import RadosGateway

from collabspace.broker import metrics
from collabspace.broker.enforcement import Check, Enforcement
from collabspace.broker.opening import open_store
from collabspace.broker.s3_bucket import Bucket
from collabspace.broker.s3_store import S3Store
from collabspace.broker.settings import BrokerSettings, SettingsError, load


def gauges() -> set[float]:
    return {sample.value for sample in metrics.ENFORCEMENT.collect()[0].samples}


def test_a_closed_bucket_is_proven_to_refuse_and_the_probe_leaves_nothing(at: Callable[..., Bucket]) -> None:
    bucket = at("proven")
    enforcement = Enforcement(S3Store(bucket))
    assert not enforcement.proven, "nothing is proven before it was tried"
    enforcement.probe()
    assert (enforcement.failed, gauges()) == ({}, {1.0})
    assert list(bucket.list("")) == []


def test_a_bucket_open_to_the_public_is_found_out(public_bucket: str, at: Callable[..., Bucket]) -> None:
    enforcement = Enforcement(S3Store(at("x", public_bucket)))
    enforcement.probe()
    assert {Check.UNSIGNED_READ, Check.UNSIGNED_LIST} <= set(enforcement.failed)
    assert not enforcement.proven and 0.0 in gauges()


async def test_a_bucket_opened_later_loses_its_proof_at_the_next_visit(
    radosgw: RadosGateway, at: Callable[..., Bucket], monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = at("later", await asyncio.to_thread(radosgw.bucket))
    enforcement = Enforcement(S3Store(bucket))
    await asyncio.to_thread(enforcement.probe)
    await asyncio.to_thread(radosgw.publish, bucket.name)
    await enforcement.keep_up()
    assert enforcement.proven and enforcement._visit is None, "not due within a day"
    monkeypatch.setattr(enforcement, "_asked", float("-inf"))
    await enforcement.keep_up()
    assert enforcement._visit is not None
    await enforcement._visit
    assert not enforcement.proven


def test_what_could_not_be_tried_is_not_proven(at: Callable[..., Bucket]) -> None:
    enforcement = Enforcement(S3Store(at("x", "no-such-bucket")))
    enforcement.probe()
    assert set(enforcement.failed) == set(Check) and "could not be tried" in enforcement.detail


@pytest.fixture
def settings(
    radosgw: RadosGateway, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., BrokerSettings]:
    """Those of a broker with a bucket, read from the environment as a process does."""

    def read(bucket: str, **changes: str) -> BrokerSettings:
        (tmp_path / "pem").write_text("PEM")
        said = {
            "TLS_CERT": str(tmp_path / "pem"),
            "TLS_KEY": str(tmp_path / "pem"),
            "LEDGER": "sqlite:///ledger.db",
            "STORE": f"s3://{bucket}/data",
            "STAGING": str(tmp_path / "staging"),
            "S3_ENDPOINT": radosgw.endpoint,
            "S3_ACCESS_KEY_FILE": str(keys[0]),
            "S3_SECRET_KEY_FILE": str(keys[1]),
            **changes,
        }
        for name, value in said.items():
            monkeypatch.setenv(f"COLLABSPACE_BROKER_{name}", value)
        return load()

    return read


def test_redirect_refuses_to_start_on_a_store_that_does_not_deny_and_says_why(
    radosgw: RadosGateway, public_bucket: str, settings: Callable[..., BrokerSettings]
) -> None:
    with pytest.raises(SettingsError) as refused:
        open_store(settings(public_bucket, READS="Redirect"), 0)
    text = str(refused.value)
    assert text.startswith("COLLABSPACE_BROKER_READS: Redirect needs") and "UnsignedReadRefused: answered 200" in text
    assert radosgw.access_key not in text and radosgw.endpoint not in text


def test_a_gateway_on_such_a_store_starts_and_warns(
    public_bucket: str, settings: Callable[..., BrokerSettings], caplog: pytest.LogCaptureFixture
) -> None:
    opened = open_store(settings(public_bucket), 0)
    assert opened.enforcement is not None and not opened.enforcement.proven
    assert "enforcement-not-proven" in [record.message for record in caplog.records]
    opened.store.close()


def test_a_prefix_without_a_store_is_refused_to_a_ledger_that_knows_of_data(
    open_bucket: Bucket, settings: Callable[..., BrokerSettings]
) -> None:
    bucket = open_bucket.name
    with pytest.raises(SettingsError, match="COLLABSPACE_BROKER_STORE: there is no store under this prefix"):
        open_store(settings(bucket), 3)
    first = open_store(settings(bucket), 0)
    first.store.close()
    again = open_store(settings(bucket, READS="Redirect"), 3)
    assert again.enforcement is not None and again.enforcement.proven
    again.store.close()
