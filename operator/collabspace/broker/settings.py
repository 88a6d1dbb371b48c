"""What the broker is told from outside, read from the environment once and refused by name when it is wrong."""

from pathlib import Path

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from collabspace.broker.store_settings import StoreSettings

PREFIX = "COLLABSPACE_"
GIB = 1 << 30


class SettingsError(Exception):
    """A setting is missing or wrong; the message is one line that names the variable, and never shows its value."""


class NotYetError(SettingsError):
    """What a setting names is not there, or not fit, by now: it may become so while the broker waits."""


class BrokerSettings(StoreSettings):
    """Environment variables `COLLABSPACE_<NAME>`; sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    kubeconfig: Path | None = Field(default=None, description="None: KUBECONFIG, else the pod's own account.")
    broker_host: str = Field(default="127.0.0.1", min_length=1)
    broker_port: int = Field(default=8443, ge=0, le=65535)
    broker_tls_cert: Path
    broker_tls_key: Path
    broker_ledger: str = Field(
        description="SQLAlchemy URL: sqlite:////var/lib/collabspace/ledger.db or postgresql+psycopg://user@host/name"
    )
    broker_ledger_password_file: Path | None = Field(
        default=None, description="Of PostgreSQL, read at each connecting; None: libpq's own ways, such as PGPASSFILE."
    )
    broker_metrics: str | None = Field(default=None, description="host:port of a plain listener for metrics alone.")
    broker_max_version_bytes: int = Field(default=200 * GIB, ge=1)
    broker_max_result_bytes: int = Field(default=20 * GIB, ge=1)
    broker_max_checkpoint_bytes: int = Field(default=20 * GIB, ge=1)
    broker_check_memory_bytes: int = Field(default=4 * GIB, ge=256 << 20, description="For the check of one version.")
    broker_grace_seconds: float = Field(
        default=30.0, ge=0, description="Of an open stream whose decision cannot be confirmed: the API server is away."
    )
    broker_sweep_seconds: float = Field(default=30.0, gt=0, description="Between two passes of the sweeper.")
    broker_requests_per_second: float = Field(default=100.0, gt=0, description="Of one namespace.")

    @field_validator("broker_ledger")
    @classmethod
    def _is_url(cls, value: str) -> str:
        try:
            url = make_url(value)
        except (ArgumentError, ValueError):
            raise ValueError("is not an SQLAlchemy URL such as sqlite:////folder/ledger.db") from None
        if url.password is not None or "password" in url.query:
            raise ValueError(f"holds a password; take it out, and name a file in {PREFIX}BROKER_LEDGER_PASSWORD_FILE")
        return value

    @field_validator("broker_metrics")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is not None:
            split_address(value)
        return value


def split_address(address: str) -> tuple[str, int]:
    """`host:port` as its parts. Raises ValueError."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) <= 65535:
        raise ValueError("is not host:port, for example 127.0.0.1:9090")
    return host, int(port)


def load() -> BrokerSettings:
    """Settings of this process. Raises SettingsError."""
    try:
        return BrokerSettings()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        text = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:
            raise SettingsError(text) from None
        variable = PREFIX + str(first["loc"][0]).upper()
        remedy = "is not set" if first["type"] == "missing" else text
        raise SettingsError(f"{variable}: {remedy}; set it and start again") from None
