"""A wrong setting ends the process with one line that names it."""

from pathlib import Path

import pytest

from collabspace.controller.settings import SettingsError, load


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBECONFIG", "BROKER_URL", "BROKER_CA_FILE", "METRICS_PORT", "TRAINER_IMAGE", "WORKERS"):
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
        ("BROKER_CA_FILE", "/nowhere.pem", "COLLABSPACE_BROKER_CA_FILE: names no file: /nowhere.pem"),
        ("METRICS_PORT", "http", "COLLABSPACE_METRICS_PORT: "),
        ("METRICS_PORT", "70000", "COLLABSPACE_METRICS_PORT: "),
        ("WORKERS", "0", "COLLABSPACE_WORKERS: "),
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
