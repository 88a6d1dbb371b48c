"""What the operator is told from outside, read from the environment once and refused by name when it is wrong."""

from pathlib import Path

import pydantic_settings
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.alias_generators import to_camel
from pydantic_settings import BaseSettings, SettingsConfigDict

from collabspace.api import names
from collabspace.core.job import JobSettings, Placement

PREFIX = "COLLABSPACE_"


class SettingsError(Exception):
    """A setting is missing or wrong; the message is one line that names the variable."""


class PodPlacement(BaseModel):
    """Where trainer pods run, in the words of a pod's spec."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)

    node_selector: dict[str, str] = {}
    tolerations: tuple[dict[str, str | int], ...] = ()
    runtime_class_name: str = ""
    priority_class_name: str = ""

    def placement(self) -> Placement:
        return Placement(self.node_selector, self.tolerations, self.runtime_class_name, self.priority_class_name)


class OperatorSettings(BaseSettings):
    """Environment variables `COLLABSPACE_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    kubeconfig: Path | None = Field(default=None, description="None: KUBECONFIG, else the pod's own account.")
    broker_url: str = Field(description="Where trainers and the operator reach the broker, https://host:port.")
    broker_ca_file: Path | None = Field(default=None, description="PEM of the broker's authority; None: the system's.")
    metrics_host: str = Field(default="127.0.0.1", min_length=1)
    metrics_port: int = Field(default=8080, ge=0, le=65535, description="0: any free port.")
    trainer_image: str = Field(default=names.TRAINER_IMAGE, min_length=1, max_length=512)
    trainer_pull_secrets: tuple[str, ...] = Field(default=(), description="Names, as JSON; in each team's namespace.")
    trainer_with_gpu: PodPlacement = Field(default=PodPlacement(), description="Of tasks that ask for GPUs, as JSON.")
    trainer_without_gpu: PodPlacement = Field(default=PodPlacement(), description="Of the others, as JSON.")
    instance: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9]([-.a-z0-9]{0,61}[a-z0-9])?$",
        description="A name that no two live processes bear at a time, such as the pod's: a process that is started "
        "under it leads at once after one that was killed. None: it waits until the Lease has run out.",
    )
    workers: int = Field(default=16, ge=1, le=256)

    def jobs(self) -> JobSettings:
        """What trainer pods are made of."""
        gpu, other = self.trainer_with_gpu.placement(), self.trainer_without_gpu.placement()
        return JobSettings(self.trainer_image, self.broker_url, self.trainer_pull_secrets, gpu, other)

    @field_validator("broker_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        if not value.startswith(("https://", "http://")) or any(sign.isspace() for sign in value):
            raise ValueError("is no URL; write for example https://broker.collabspace-system:8443")
        return value.rstrip("/")

    @field_validator("kubeconfig")
    @classmethod
    def _is_file(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError(f"names no file: {value}")
        return value


def load() -> OperatorSettings:
    """Settings of this process. Raises SettingsError."""
    try:
        # The required fields come from the environment.
        return OperatorSettings()  # type: ignore[call-arg, unused-ignore]
    except pydantic_settings.SettingsError as error:  # not JSON where JSON is meant
        field = str(error).partition('field "')[2].partition('"')[0]
        raise SettingsError(f"{PREFIX}{field.upper()}: is not JSON") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        variable = PREFIX + str(first["loc"][0]).upper()
        problem = "is not set" if first["type"] == "missing" else first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{variable}: {problem}") from None
