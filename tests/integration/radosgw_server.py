"""A real S3 server that denies: Ceph's gateway over one monitor and one object server in memory, all on loopback."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

START_SECONDS = 120
PR_SET_PDEATHSIG = 1
CONFIG = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon_port}/0]
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr1 = false
keyring = {folder}/keyring
run dir = {folder}
admin socket =
log file =
mon cluster log file =
log to stderr = false
err to stderr = true
mon data = {folder}/mon
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 2147483648
osd class dir = {libraries}/rados-classes
osd class load list = *
osd class default list = *
erasure code dir = {libraries}/ceph/erasure-code
plugin dir = {libraries}/ceph
compressor dir = {libraries}/ceph/compressor
osd crush update on start = false
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd op num shards = 1
mon data avail crit = 0
mon allow pool size one = true
# The patience that a cluster of many machines needs is most of a start here: 2 s with these, 11 s without.
paxos propose interval = 0.05
paxos min wait = 0.01
mon tick interval = 1
osd tick interval = 0.2
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw thread pool size = 64
rgw num rados handles = 1
rgw num control oids = 1
rgw gc max objs = 1
rgw lc max objs = 1
rgw override bucket index max shards = 1
rgw dynamic resharding = false
rgw data log num shards = 1
rgw md log max shards = 1
rgw enable quota threads = false
rgw bucket quota ttl = 0
"""


@dataclass
class RadosGateway:
    """`start` returns when it answers. Its one user owns all buckets."""

    root: Path
    folder: Path
    access_key: str = "zqxmarkeraccess"
    secret_key: str = "zqxmarkersecret"
    port: int = 0
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        (self.folder / "mon").mkdir(parents=True)
        (self.folder / "osd").mkdir()
        mon_port, self.port = free_ports(2)
        fsid, libraries = str(uuid.uuid4()), self._libraries()
        (self.folder / "ceph.conf").write_text(
            CONFIG.format(fsid=fsid, mon_port=mon_port, port=self.port, folder=self.folder, libraries=libraries)
        )
        keyring, maps = str(self.folder / "keyring"), [str(self.folder / name) for name in ("monmap", "osdmap")]
        every = [part for service in ("mon", "osd", "mgr", "mds") for part in ("--cap", service, "allow *")]
        self._run("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
        self._run("ceph-authtool", keyring, "--gen-key", "-n", "client.admin", *every)
        osd = ["--cap", "mon", "allow profile osd", "--cap", "osd", "allow *"]
        self._run("ceph-authtool", keyring, "--gen-key", "-n", "osd.0", *osd)
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{mon_port}]", maps[0])
        # The map names the one object server, so that nobody has to be asked to create it.
        self._run("osdmaptool", "--createsimple", "1", maps[1], *self._config())
        monitor = ["--mkfs", "-i", "a", "--monmap", maps[0], "--osdmap", maps[1], "--keyring", keyring]
        self._run("ceph-mon", *self._config(), *monitor)
        self._begin("ceph-mon", "-i", "a")
        self._run("ceph-osd", *self._config(), "-i", "0", "--mkfs", "--osd-uuid", str(uuid.uuid4()))
        self._begin("ceph-osd", "-i", "0")
        self._begin("radosgw", "-n", "client.admin")
        self._await()
        who = ["--uid", "broker", "--display-name", "broker"]
        keys = ["--access-key", self.access_key, "--secret", self.secret_key]
        self._run("radosgw-admin", *self._config(), "user", "create", *who, *keys)

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()

    def client(self, config: dict[str, Any] | None = None) -> Any:
        """The owner's own client, for what tests do behind the store's back."""
        return boto3.session.Session(self.access_key, self.secret_key, region_name="us-east-1").client(
            "s3",
            endpoint_url=self.endpoint,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                **(config or {}),
            ),
        )

    def bucket(self, *, versioned: bool = False, public: bool = False) -> str:
        """A new one. A public one lets anybody read and list, as a policy may."""
        name = f"b-{uuid.uuid4().hex}"
        client = self.client()
        client.create_bucket(Bucket=name)
        if versioned:
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        if public:
            self.publish(name)
        client.close()
        return name

    def publish(self, bucket: str) -> None:
        statement = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"]}
        statement["Resource"] = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
        client = self.client()
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
        client.close()

    def _await(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                logs = {path.name: path.read_text(errors="replace")[-2000:] for path in self.folder.glob("*.log")}
                assert all(process.poll() is None for process in self._processes), logs
                assert time.monotonic() < deadline, logs
                threading.Event().wait(0.05)

    def _libraries(self) -> Path:
        """The folder of the machine's kind of libraries that the packages brought."""
        return next(path.parent for path in (self.root / "usr" / "lib").glob("*/rados-classes"))

    def _config(self) -> list[str]:
        return ["-c", str(self.folder / "ceph.conf")]

    def _environment(self) -> dict[str, str]:
        libraries = self._libraries()
        places = [libraries, libraries / "ceph", self.root / "lib" / libraries.name]
        return {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": ":".join(map(str, places))}

    def _program(self, name: str) -> str:
        return str(self.root / "usr" / "bin" / name)

    def _run(self, name: str, *arguments: str) -> None:
        command = [self._program(name), *arguments]
        done = subprocess.run(command, env=self._environment(), capture_output=True, text=True, timeout=START_SECONDS)
        assert done.returncode == 0, f"{name}: {done.stderr[-2000:]}"

    def _begin(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    [self._program(name), *self._config(), *arguments, "-f"],
                    env=self._environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    preexec_fn=_die_with_parent,
                )
            )


def _die_with_parent() -> None:
    """A test run that is killed leaves no server behind."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports
