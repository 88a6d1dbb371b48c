"""A real Prometheus on loopback, with the chart's alerts, and its answers."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

from chart_cases import CHART

SCRAPE = "2s"
START_SECONDS = 60.0


def in_full(expr: str, window: str = "5m") -> str:
    """A question of a dashboard with what Grafana would fill in."""
    return expr.replace("$__rate_interval", window).replace("$team", ".*")


class Prometheus:
    """`root` is where Debian's package lies. Targets may be told while it runs; `jobs` are scrapes beside them."""

    def __init__(self, root: Path, folder: Path, jobs: Sequence[Mapping[str, Any]] = ()) -> None:
        self._jobs = jobs
        self._program = root / "usr" / "bin" / "prometheus"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._targets = folder / "targets.json"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._address = f"127.0.0.1:{probe.getsockname()[1]}"
        self._http = httpx.Client(base_url=f"http://{self._address}", trust_env=False, timeout=30)

    def start(self) -> None:
        scrape = {"job_name": "collabspace", "file_sd_configs": [{"files": [str(self._targets)]}]}
        plan = {
            "global": {"scrape_interval": SCRAPE, "evaluation_interval": SCRAPE},
            "rule_files": [str(CHART / "alerts.yaml")],
            "scrape_configs": [scrape, *self._jobs],
        }
        (self._folder / "prometheus.yml").write_text(yaml.safe_dump(plan))
        arguments = [
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address={self._address}",
        ]
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(
                [self._program, *arguments],
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], "GOMAXPROCS": "1"},
            )
        self.until(self._is_ready, "Prometheus is not ready")

    def stop(self) -> None:
        self._http.close()
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)

    def scrape(self, targets: Mapping[str, str]) -> None:
        """Addresses by name, which every series of theirs bears as label `target`."""
        groups = [{"targets": [address], "labels": {"target": name}} for name, address in targets.items()]
        new = self._targets.with_suffix(".new")
        new.write_text(json.dumps(groups))
        new.rename(self._targets)

    def ask(self, expr: str) -> list[dict[str, Any]]:
        """The samples of this moment. A question that is not understood fails."""
        answer = self._get("/api/v1/query", {"query": expr})
        assert answer.status_code == 200, f"{expr}: {answer.text[:500]}"
        return list(answer.json()["data"]["result"])

    def alerts(self) -> dict[str, str]:
        """Those that are pending or firing now, by name."""
        answer = self._get("/api/v1/alerts", {})
        return {each["labels"]["alertname"]: each["state"] for each in answer.json()["data"]["alerts"]}

    def until(self, holds: Callable[[], bool], problem: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not holds():
            assert time.monotonic() < deadline, f"{problem}: {(self._folder / 'prometheus.log').read_text()[-2000:]}"
            threading.Event().wait(0.2)

    def _is_ready(self) -> bool:
        try:
            return self._get("/-/ready", {}).status_code == 200
        except httpx.TransportError:
            return False

    def _get(self, path: str, query: Mapping[str, str]) -> httpx.Response:
        return self._http.get(path, params=dict(query))
