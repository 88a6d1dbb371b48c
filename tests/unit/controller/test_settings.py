"""A wrong setting ends the process with one line that names it."""

import json
from pathlib import Path

import pytest

from collabspace.controller.settings import SettingsError, load
from collabspace.core.job import Placement


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBECONFIG", "BROKER_URL", "BROKER_CA_FILE", "METRICS_PORT", "TRAINER_IMAGE", "WORKERS", "INSTANCE"):
        monkeypatch.delenv(f"COLLABSPACE_{name}", raising=False)
    monkeypatch.setenv("COLLABSPACE_BROKER_URL", "https://broker:8443/")


def test_defaults_are_safe() -> None:
    settings = load()
    assert (settings.metrics_host, settings.workers) == ("127.0.0.1", 16)
    assert settings.broker_url == "https://broker:8443"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("BROKER_URL", None, "COLLABSPACE_BROKER_URL: is not set"),
        ("BROKER_URL", "broker:8443", "COLLABSPACE_BROKER_URL: is no URL"),
        ("KUBECONFIG", "/nowhere", "COLLABSPACE_KUBECONFIG: names no file: /nowhere"),
        ("METRICS_PORT", "http", "COLLABSPACE_METRICS_PORT: "),
        ("METRICS_PORT", "70000", "COLLABSPACE_METRICS_PORT: "),
        ("WORKERS", "0", "COLLABSPACE_WORKERS: "),
        ("TRAINER_WITH_GPU", "H100", "COLLABSPACE_TRAINER_WITH_GPU: is not JSON"),
        ("TRAINER_WITH_GPU", '{"nodeSelecter": {}}', "COLLABSPACE_TRAINER_WITH_GPU: "),
    ],
)
def test_a_wrong_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str | None, words: str, tmp_path: Path
) -> None:
    if value is None:
        monkeypatch.delenv(f"COLLABSPACE_{name}")
    else:
        monkeypatch.setenv(f"COLLABSPACE_{name}", value)
    with pytest.raises(SettingsError) as caught:
        load()
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["operator-7c9f-x2", "a", "a" * 63])
def test_an_instance_is_named_like_a_pod(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("COLLABSPACE_INSTANCE", name)
    assert load().instance == name


@pytest.mark.parametrize("name", ["", "a:b", "A", "-a", "a" * 64, "a\nb"])
def test_an_instance_of_another_form_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("COLLABSPACE_INSTANCE", name)
    with pytest.raises(SettingsError, match=r"^COLLABSPACE_INSTANCE: "):
        load()


def test_trainers_with_gpus_run_where_the_admin_says(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"nodeSelector": {"gpu": "H100"}, "tolerations": [{"key": "gpu", "operator": "Exists"}]}
    monkeypatch.setenv("COLLABSPACE_TRAINER_WITH_GPU", json.dumps(there | {"runtimeClassName": "nvidia"}))
    monkeypatch.setenv("COLLABSPACE_TRAINER_PULL_SECRETS", '["registry"]')
    jobs = load().jobs()
    assert jobs.with_gpu == Placement({"gpu": "H100"}, ({"key": "gpu", "operator": "Exists"},), "nvidia")
    assert (jobs.without_gpu, jobs.pull_secrets) == (Placement(), ("registry",))
