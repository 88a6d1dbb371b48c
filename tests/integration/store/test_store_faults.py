"""A store that is slow, away, cuts off, lies or forgets: one clear reason each, and nothing half passes for whole."""

import base64
import hashlib
import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_proxy import Answer, Asked, FaultProxy, Forward, misbehaving, refusal
from radosgw_server import RadosGateway
from store_suite import OWNER, put, sha256

from collabspace.broker import s3_bucket
from collabspace.broker.s3_blob import PART_BYTES
from collabspace.broker.s3_bucket import Address, Bucket
from collabspace.broker.s3_selftest import UnfitStoreError, self_tested
from collabspace.broker.s3_store import S3Store
from collabspace.broker.store import StoreUnavailableError

DIGEST = "sha256:" + sha256(b"{}")
numbers = itertools.count()


@pytest.fixture(scope="module")
def proxy(radosgw: RadosGateway) -> Iterator[FaultProxy]:
    with misbehaving(radosgw.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def client(proxy: FaultProxy, open_bucket: Bucket, keys: tuple[Path, Path]) -> Iterator[Bucket]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(s3_bucket, "READ_SECONDS", 1)
        bucket = Bucket(Address(open_bucket.name, "", proxy.endpoint, None, True, *keys), attempts=2)
    yield bucket
    bucket.close()


@pytest.fixture
def store(proxy: FaultProxy, client: Bucket) -> Iterator[S3Store]:
    """One that works until a test sets a fault."""
    client.prefix = f"faults-{next(numbers)}/"
    store = S3Store(client, bare_tags=True)
    store.claim()
    proxy.seen.clear()
    yield store
    proxy.fault = lambda asked, forward: forward(asked)


def test_503_that_passes_costs_a_second_try(proxy: FaultProxy, store: S3Store) -> None:
    left = iter([refusal(503, "SlowDown")])
    proxy.fault = lambda asked, forward: next(left, None) or forward(asked)
    assert store.read_manifest(OWNER, DIGEST) is None
    assert proxy.seen[0] == ("GET", 503) and len(proxy.seen) > 1


def test_503_that_stays_is_a_store_that_is_away(proxy: FaultProxy, store: S3Store, tmp_path: Path) -> None:
    proxy.fault = lambda asked, forward: refusal(503, "SlowDown")
    with pytest.raises(StoreUnavailableError, match="get_object: 503 SlowDown"):
        store.read_manifest(OWNER, DIGEST)
    assert len(proxy.seen) == 2, "as often as it was told, and no more"
    with pytest.raises(StoreUnavailableError, match=r"head_object: 503$"):
        store.put_manifest(OWNER, DIGEST, b"{}")
    with pytest.raises(StoreUnavailableError, match="503"):
        list(store.owners())
    with pytest.raises(StoreUnavailableError, match="put_object: 503 SlowDown"):
        self_tested(store.bucket)


def test_an_answer_that_never_comes_is_waited_for_within_bounds(proxy: FaultProxy, store: S3Store) -> None:
    done = threading.Event()

    def silent(asked: Asked, forward: Forward) -> Answer:
        done.wait(30)
        return Answer(200, {}, b"", lost=True)

    proxy.fault = silent
    with pytest.raises(StoreUnavailableError, match="ReadTimeoutError"):
        store.blob_size(OWNER, "0" * 64)
    done.set()


def cut(asked: Asked, forward: Forward) -> Answer:
    """Half of every body, under the length of all of it."""
    answer = forward(asked)
    if asked.method == "GET" and answer.status < 300 and len(answer.body) > 1:
        answer.length, answer.body = len(answer.body), answer.body[: len(answer.body) // 2]
    return answer


def test_a_blob_cut_off_is_read_on_from_there(proxy: FaultProxy, store: S3Store, tmp_path: Path) -> None:
    content = os.urandom(1 << 16)
    name = put(store, tmp_path, content)
    left = iter([cut, cut, cut])
    proxy.fault = lambda asked, forward: next(left, lambda a, f: f(a))(asked, forward)
    store.expose(OWNER, name, tmp_path / "view")
    assert (tmp_path / "view").read_bytes() == content


def test_a_blob_that_is_cut_off_always_is_never_taken_for_whole(
    proxy: FaultProxy, store: S3Store, tmp_path: Path
) -> None:
    name = put(store, tmp_path, os.urandom(1 << 20))
    swapped = store.swap_pointer(OWNER, name, b"model", None)
    store.put_manifest(OWNER, DIGEST, b"{}")
    proxy.fault = cut
    with pytest.raises(StoreUnavailableError, match="answers in a row broke off"):
        store.expose(OWNER, name, tmp_path / "view")
    assert swapped is not None and not (tmp_path / "view").exists()
    for read in (lambda: store.read_manifest(OWNER, DIGEST), lambda: store.read_pointer(OWNER, name)):
        with pytest.raises(StoreUnavailableError, match=r"get_object: "):
            read()


def test_bytes_changed_on_the_way_are_noticed(proxy: FaultProxy, store: S3Store, tmp_path: Path) -> None:
    name = put(store, tmp_path, b"twelve bytes")
    store.swap_pointer(OWNER, name, b"model", None)

    def flip(asked: Asked, forward: Forward) -> Answer:
        answer = forward(asked)
        if asked.method == "GET" and answer.status < 300:
            answer.body = answer.body[:-1] + bytes([answer.body[-1] ^ 1])
        return answer

    proxy.fault = flip
    with pytest.raises(OSError, match="other bytes for a blob"):
        store.expose(OWNER, name, tmp_path / "view")
    assert not (tmp_path / "view").exists()
    with pytest.raises(OSError, match="other bytes for a pointer"):
        store.read_pointer(OWNER, name)


def test_half_of_what_was_sent_is_refused_by_the_store_and_nothing_is_there(
    proxy: FaultProxy, store: S3Store, tmp_path: Path
) -> None:
    def halve(asked: Asked, forward: Forward) -> Answer:
        asked.body = asked.body[: len(asked.body) // 2]
        return forward(asked)

    proxy.fault = halve
    with pytest.raises(OSError, match="put_object: 400"):
        put(store, tmp_path, b"twelve bytes")
    assert (tmp_path / "incoming").exists(), "it is taken over only when it is stored"
    proxy.fault = lambda asked, forward: forward(asked)
    assert store.blobs(OWNER) == []


def test_parts_that_do_not_all_arrive_leave_nothing(proxy: FaultProxy, store: S3Store, tmp_path: Path) -> None:
    def lose_the_second(asked: Asked, forward: Forward) -> Answer:
        return refusal(400, "InvalidPart") if "partNumber=2" in asked.path else forward(asked)

    proxy.fault = lose_the_second
    with pytest.raises(OSError, match="upload_part: 400 InvalidPart"):
        put(store, tmp_path, b"x" * (PART_BYTES + 1))
    assert (store.blobs(OWNER), list(store.bucket.multiparts())) == ([], [])


def test_a_store_that_keeps_less_than_it_confirms_is_noticed(proxy: FaultProxy, store: S3Store, tmp_path: Path) -> None:
    def short(asked: Asked, forward: Forward) -> Answer:
        answer = forward(asked)
        if asked.method == "HEAD" and "/blobs/" in asked.path:
            answer.length -= 1
        return answer

    proxy.fault = short
    with pytest.raises(OSError, match="another number of bytes"):
        put(store, tmp_path, b"twelve bytes")
    assert store.blobs(OWNER) == []


def lost_once(proxy: FaultProxy) -> None:
    """The next write takes place, and its answer is lost."""
    left = iter([True])

    def lose(asked: Asked, forward: Forward) -> Answer:
        answer = forward(asked)
        answer.lost = asked.method == "PUT" and answer.status < 300 and next(left, False)
        return answer

    proxy.fault = lose


def test_a_write_whose_answer_was_lost_is_known_for_our_own(proxy: FaultProxy, store: S3Store) -> None:
    lost_once(proxy)
    assert store.put_manifest(OWNER, DIGEST, b"{}")
    assert ("PUT", 412) in proxy.seen
    lost_once(proxy)
    first = store.swap_pointer(OWNER, "0" * 64, b"one", None)
    lost_once(proxy)
    second = store.swap_pointer(OWNER, "0" * 64, b"two", first)
    found = store.read_pointer(OWNER, "0" * 64)
    assert first is not None and found is not None and (found.content, found.tag) == (b"two", second)


def test_a_store_that_takes_no_notice_of_checksums_is_refused(proxy: FaultProxy, store: S3Store) -> None:
    def credulous(asked: Asked, forward: Forward) -> Answer:
        sent = {name.lower(): value for name, value in asked.headers.items()}.get("content-md5")
        found = base64.b64encode(hashlib.md5(asked.body).digest()).decode()
        return forward(asked) if sent in (None, found) else Answer(200, {"ETag": '"0"'}, b"")

    proxy.fault = credulous
    with pytest.raises(UnfitStoreError, match="Content-MD5 is wrong"):
        self_tested(store.bucket)


@pytest.mark.parametrize(
    ("header", "reason"),
    [("If-None-Match", "If-None-Match overwrite what is there"), ("If-Match", "If-Match overwrite what another")],
)
def test_a_store_that_lacks_conditional_writes_is_refused(
    proxy: FaultProxy, store: S3Store, radosgw: RadosGateway, header: str, reason: str
) -> None:
    owner = radosgw.client()

    def unconditional(asked: Asked, forward: Forward) -> Answer:
        answer = forward(asked)
        if answer.status == 412 and header in asked.headers and asked.method == "PUT":
            bucket, _, key = asked.path.lstrip("/").partition("/")
            return Answer(200, {"ETag": owner.put_object(Bucket=bucket, Key=key, Body=asked.body)["ETag"]}, b"")
        return answer

    proxy.fault = unconditional
    with pytest.raises(UnfitStoreError, match=reason):
        self_tested(store.bucket)
    owner.close()


@pytest.mark.parametrize(("status", "code"), [(501, "NotImplemented"), (400, "InvalidArgument")])
def test_a_store_that_refuses_conditions_is_refused_with_its_own_word(
    proxy: FaultProxy, store: S3Store, status: int, code: str
) -> None:
    proxy.fault = lambda asked, forward: refusal(status, code) if "If-None-Match" in asked.headers else forward(asked)
    with pytest.raises(OSError, match=f"put_object: {status} {code}"):
        self_tested(store.bucket)


def test_a_store_without_ranges_is_refused(proxy: FaultProxy, store: S3Store, radosgw: RadosGateway) -> None:
    owner = radosgw.client()

    def whole(asked: Asked, forward: Forward) -> Answer:
        if "Range" not in asked.headers:
            return forward(asked)
        bucket, _, key = asked.path.lstrip("/").partition("/")
        found = owner.get_object(Bucket=bucket, Key=key)
        return Answer(200, {"ETag": found["ETag"]}, found["Body"].read())

    proxy.fault = whole
    with pytest.raises(UnfitStoreError, match="whole object where a range"):
        self_tested(store.bucket)
    owner.close()


def test_a_full_store_is_told_from_a_broken_one(proxy: FaultProxy, store: S3Store, tmp_path: Path) -> None:
    proxy.fault = lambda asked, forward: refusal(403, "QuotaExceeded") if asked.method == "PUT" else forward(asked)
    with pytest.raises(OSError, match="QuotaExceeded") as full:
        put(store, tmp_path, b"x")
    assert full.value.errno == 28
