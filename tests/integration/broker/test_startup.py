"""A broker that lacks something at its start says in one line what, lives, and goes on by itself when it is there.

Only a setting that can never be right ends it.
"""

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import postgres_ledger
import pytest
from broker_harness import BrokerProcess, executed, log_events
from radosgw_server import RadosGateway
from store_places import Prefix

from postgres_server import PASSWORD, PostgresServer

SECRET = "zqxmarker-wrong"
PREFIX = "COLLABSPACE_BROKER_"


@pytest.fixture(scope="module")
def stopped(start_broker: Callable[..., BrokerProcess]) -> BrokerProcess:
    """One that could start; each test makes it one that cannot."""
    broker = start_broker()
    broker.stop()
    return broker


@pytest.fixture
def lacking(stopped: BrokerProcess, tmp_path: Path) -> Iterator[Callable[..., BrokerProcess]]:
    """It, launched with other settings and a log of its own."""
    own, log = stopped.environment, stopped.log

    def launch(**settings: str | None) -> BrokerProcess:
        changed = own | {f"{PREFIX}{name}": value for name, value in settings.items() if value is not None}
        stopped.environment = {k: v for k, v in changed.items() if settings.get(k.removeprefix(PREFIX), "") is not None}
        stopped.log = tmp_path / "broker.log"
        stopped.launch()
        return stopped

    yield launch
    stopped.stop(signal.SIGTERM)
    stopped.environment, stopped.log = own, log


def is_a_line(broker: BrokerProcess, said: str) -> None:
    """It is in the log too, again and again, and no secret is in either."""
    assert "\n" not in said and len(said) < 700
    assert any(event.get("problem") == said for event in log_events(broker.log))
    for secret in (SECRET, PASSWORD):
        assert secret not in said and secret not in broker.log.read_text()


def test_a_wrong_password_of_the_database_is_told_and_the_right_one_is_taken_when_it_comes(
    lacking: Callable[..., BrokerProcess], postgres: PostgresServer, tmp_path: Path
) -> None:
    told = postgres_ledger.settings(postgres.schema(), tmp_path)
    password = tmp_path / "password"
    password.write_text(SECRET)
    broker = lacking(**{name.removeprefix(PREFIX): value for name, value in told.items()})
    said = broker.lacks("password authentication failed")
    assert said.startswith(f"{PREFIX}LEDGER: ") and f"{PREFIX}LEDGER_PASSWORD_FILE" in said
    is_a_line(broker, said)
    password.unlink()
    is_a_line(broker, broker.lacks("password file cannot be read"))
    password.write_text(PASSWORD)
    before = broker.pid
    broker.until_ready()
    assert broker.pid == before


@pytest.mark.parametrize(
    ("host", "database", "word"),
    [("127.0.0.1:1", "postgres", "refused"), ("no-such-host.invalid", "postgres", "resolve"), ("", "none", "exist")],
)
def test_a_database_that_is_away_or_has_another_name_is_told(
    lacking: Callable[..., BrokerProcess], postgres: PostgresServer, host: str, database: str, word: str
) -> None:
    place = host or f"127.0.0.1:{postgres.port}"
    url = postgres.url().replace(f"127.0.0.1:{postgres.port}/postgres", f"{place}/{database}")
    broker = lacking(LEDGER=url)
    said = broker.lacks(word)
    assert said.startswith(f"{PREFIX}LEDGER: ")
    is_a_line(broker, said)


def test_what_is_wrong_with_a_bucket_or_its_keys_is_told_by_the_setting(
    lacking: Callable[..., BrokerProcess], radosgw: RadosGateway, tmp_path: Path
) -> None:
    place = Prefix(radosgw, tmp_path)
    right = {name.removeprefix(PREFIX): value for name, value in place.settings(tmp_path).items()}
    key, secret = tmp_path / "access", tmp_path / "secret"
    secret.unlink()
    broker = lacking(**right)
    is_a_line(broker, broker.lacks(f"{PREFIX}S3_SECRET_KEY_FILE: there is no file with a key in it"))
    secret.write_text(SECRET)
    is_a_line(broker, broker.lacks(f"{PREFIX}S3_ACCESS_KEY_FILE: the store does not know these keys"))
    key.write_text("nobody")
    secret.write_text(radosgw.secret_key)
    is_a_line(broker, broker.lacks("(list_objects_v2: 403 InvalidAccessKeyId)"))
    key.write_text(radosgw.access_key)
    broker.until_ready()
    broker.stop()
    broker = lacking(**right | {"STORE": "s3://no-such-bucket/data"})
    is_a_line(broker, broker.lacks(f"{PREFIX}STORE: there is no such bucket"))
    broker.stop()
    broker = lacking(**right | {"S3_ENDPOINT": "http://127.0.0.1:1"})
    is_a_line(broker, broker.lacks(f"{PREFIX}S3_ENDPOINT: the store does not answer there"))
    place.close()


def test_without_its_certificate_the_broker_answers_probes_alone_until_the_file_is_there(
    lacking: Callable[..., BrokerProcess], stopped: BrokerProcess, tmp_path: Path
) -> None:
    cert = tmp_path / "tls.crt"
    right = Path(stopped.environment[f"{PREFIX}TLS_CERT"]).read_bytes()
    broker = lacking(TLS_CERT=str(cert))
    is_a_line(broker, broker.lacks(f"{PREFIX}TLS_CERT: the file cannot be read"))
    cert.write_text("no PEM")
    is_a_line(broker, broker.lacks("are no certificate in PEM form with its key"))
    cert.write_bytes(right)
    broker.until_ready()


@pytest.mark.parametrize("name", ["STORE", "LEDGER"])
def test_a_place_that_cannot_be_written_is_told(
    lacking: Callable[..., BrokerProcess], tmp_path: Path, name: str
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    settings = {"STORE": str(blocked / "store"), "LEDGER": f"sqlite:///{blocked}/ledger.db"}
    broker = lacking(**{name: settings[name]})
    said = broker.lacks(f"{PREFIX}{name}: ")
    assert "writ" in said
    with broker.http("token") as http:
        for method in ("GET", "POST", "PUT", "DELETE"):
            answer = http.request(method, "/v1/uploads")
            assert (answer.status_code, answer.json()["reason"]) == (503, "NotReady"), "whoever calls comes again"
            assert answer.headers["Retry-After"]
    is_a_line(broker, said)
    blocked.unlink()
    blocked.mkdir()
    broker.until_ready()


@pytest.mark.parametrize(
    ("name", "value"),
    [("LEDGER", f"mysql://host/{SECRET}"), ("PORT", "many"), ("METRICS", "192.0.2.1:9090"), ("TLS_KEY", None)],
)
def test_a_setting_that_can_never_be_right_ends_the_broker_with_one_line(
    stopped: BrokerProcess, tmp_path: Path, name: str, value: str | None
) -> None:
    environment = {key: text for key, text in stopped.environment.items() if key != f"{PREFIX}{name}"}
    process = executed(environment | ({f"{PREFIX}{name}": value} if value else {}), tmp_path / "log")
    assert isinstance(process, subprocess.Popen)
    assert process.wait(60) == 2
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert line.startswith(f"collabspace-broker: {PREFIX}{name}: ") and SECRET not in line
