"""What an admin may set in the chart, as types: values.schema.json comes from them, so a typo stops the install."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Labels = dict[str, str]
Port = Annotated[int, Field(ge=1, le=65535)]
Bytes = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^([a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?)?$")]
Digest = Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64})?$")]
Size = Annotated[str, Field(pattern=r"^[1-9][0-9]*(Ki|Mi|Gi|Ti|Pi)$")]
PREFIX_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
# Kubernetes checks these itself when the objects are applied.
Object = dict[str, Any]


class Part(BaseModel):
    """Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)


class ImageName(Part):
    """Where an image is."""

    repository: str = Field(min_length=1, max_length=400)
    tag: str = Field(default="", max_length=128, description="Empty: the chart's appVersion.")
    digest: Digest = Field(default="", description="sha256:...; wins over the tag.")


class Image(ImageName):
    """The image of operator and broker."""

    repository: str = Field(default="collabspace/operator", min_length=1, max_length=400)
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"


class TrainerImage(ImageName):
    """The image of trainer pods."""

    repository: str = Field(default="collabspace/trainer", min_length=1, max_length=400)


class Placement(Part):
    """Where trainer pods of one kind run."""

    node_selector: Labels = {}
    tolerations: list[Object] = []
    runtime_class_name: Name = ""
    priority_class_name: Name = ""


class Trainer(Part):
    """What trainer pods run, and where."""

    image: TrainerImage = TrainerImage()
    image_pull_secrets: list[Name] = Field(default=[], description="Names of Secrets in each team's namespace.")
    with_gpu: Placement = Field(default=Placement(), description="Pods of tasks that ask for GPUs.")
    without_gpu: Placement = Field(default=Placement(), description="Pods of the others.")
    allowed_images: list[Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[^'\s]+$")]] = Field(
        default=[], description="Further images that trainer pods may run, written as the operator writes them."
    )


class Workload(Part):
    """How the pods of a Deployment are placed and bounded."""

    resources: Object = {}
    priority_class_name: Name = ""
    node_selector: Labels = {}
    tolerations: list[Object] = []
    affinity: Object = {}


class Operator(Workload):
    """The operator."""

    replicas: int = Field(default=1, ge=1, le=3, description="2: a warm standby.")
    workers: int = Field(default=16, ge=1, le=256, description="Objects looked at side by side.")
    resources: Object = {"requests": {"cpu": "100m", "memory": "192Mi"}, "limits": {"memory": "512Mi"}}


class Service(Part):
    """How the broker is reached from outside the cluster, if at all."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    node_port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        default=None, description="Of type NodePort; null: any free one."
    )
    annotations: Labels = {}


class Broker(Workload):
    """The data broker."""

    replicas: int = Field(default=1, ge=1, le=16, description="More need store S3 and ledger PostgreSQL.")
    reads: Literal["Gateway", "Redirect"] = Field(
        default="Gateway", description="Redirect: readers get the bytes from S3, by links that open for a minute."
    )
    external_url: str = Field(
        default="", pattern=r"^(https://[^\s]+)?$", description="Where people reach it; empty: where trainers do."
    )
    service: Service = Service()
    max_version_bytes: Bytes = 200 << 30
    max_result_bytes: Bytes = 20 << 30
    max_checkpoint_bytes: Bytes = 20 << 30
    check_memory_bytes: int = Field(default=4 << 30, ge=256 << 20, description="For the check of one version.")
    requests_per_second: int = Field(default=100, ge=1, description="Of one namespace.")
    resources: Object = {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "6Gi"}}


class S3(Part):
    """A bucket."""

    bucket: str = Field(default="", pattern=r"^([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?$")
    prefix: str = Field(
        default="", pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,63}(/[A-Za-z0-9][A-Za-z0-9._-]{0,63}){0,7})?$"
    )
    endpoint: str = Field(default="", pattern=r"^(https?://[^/\s@]+/?)?$", description="Empty: AWS.")
    region: str = Field(default="", pattern=r"^[a-z0-9-]{0,40}$", description="Empty: us-east-1.")
    path_style: bool | None = Field(default=None, description="null: yes with an endpoint of your own.")
    secret_name: Name = Field(
        default="", description="Secret with access-key and secret-key; empty: the pod's identity."
    )
    staging_size: Size = Field(default="50Gi", description="For uploads under way, on the node.")


class Store(Part):
    """Where datasets, results and checkpoints lie."""

    type: Literal["Filesystem", "S3"] = "Filesystem"
    s3: S3 = S3()


class PostgreSQL(Part):
    """A server that the admin runs."""

    host: str = Field(default="", pattern=r"^[A-Za-z0-9.:-]{0,253}$")
    port: Port = 5432
    database: str = Field(default="collabspace", pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,62}$")
    user: str = Field(default="collabspace", pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,62}$")
    ssl_mode: Literal["disable", "require", "verify-ca", "verify-full"] = "verify-full"
    secret_name: Name = Field(default="", description="Secret with password, and ca.crt where sslMode verifies.")


class Ledger(Part):
    """The record of every use of data."""

    type: Literal["SQLite", "PostgreSQL"] = "SQLite"
    postgresql: PostgreSQL = PostgreSQL()


class Persistence(Part):
    """The volume of a store Filesystem and a ledger SQLite."""

    size: Size = "100Gi"
    storage_class_name: Name = Field(default="", description="Empty: the cluster's default.")
    existing_claim: Name = ""
    keep: bool = Field(default=True, description="The claim outlives an uninstall.")


class IssuerRef(Part):
    """An issuer of cert-manager."""

    name: Name = ""
    kind: Literal["ClusterIssuer", "Issuer"] = "ClusterIssuer"
    group: str = "cert-manager.io"


class Tls(Part):
    """The broker's certificate."""

    mode: Literal["SelfSigned", "CertManager", "Secret"] = Field(
        default="SelfSigned", description="SelfSigned: an authority of the chart's own, kept over upgrades."
    )
    secret_name: Name = Field(default="", description="Of mode Secret: has tls.crt and tls.key.")
    ca: str = Field(default="", description="PEM of the authority, of modes CertManager and Secret.")
    issuer_ref: IssuerRef = IssuerRef()
    extra_names: list[Annotated[str, Field(pattern=r"^[a-zA-Z0-9*.-]{1,253}$")]] = Field(
        default=[], description="Further names and IPv4 addresses of the broker, such as that in broker.externalUrl."
    )


class Crds(Part):
    """The three kinds."""

    enabled: bool = True
    keep: bool = Field(default=True, description="The kinds and all their objects outlive an uninstall.")


class NetworkPolicies(Part):
    """Who may reach whom in our namespace."""

    enabled: bool = True
    api_server_ports: list[Port] = [443, 6443]
    broker_from: list[Object] = Field(default=[], description="Further peers that may reach the broker.")
    metrics_from: list[Object] = Field(default=[], description="Peers that may read metrics.")
    broker_egress_ports: list[Port] = Field(
        default=[], description="Further ports that the broker may reach; those of PostgreSQL and S3 are known."
    )


class FlowSchema(Part):
    """The operator's place in the API server's queues."""

    enabled: bool = True


class PodMonitor(Part):
    """Objects for the Prometheus operator."""

    enabled: bool = False
    interval: str = Field(default="30s", pattern=r"^[1-9][0-9]*(s|m)$")
    additional_labels: Labels = {}


class Rules(Part):
    """Alerts, as an object for the Prometheus operator."""

    enabled: bool = False
    additional_labels: Labels = {}
    runbook_base_url: str = Field(
        default="docs/runbooks",
        pattern=r"^[A-Za-z0-9:/._~-]{0,499}[A-Za-z0-9]$",
        description="Where the pages of the alerts are; NAME.md is added.",
    )


class Dashboards(Part):
    """Dashboards, as ConfigMaps for Grafana's sidecar."""

    enabled: bool = False
    additional_labels: Labels = {"grafana_dashboard": "1"}


class Monitoring(Part):
    """How Prometheus finds us, and what it and Grafana make of it."""

    pod_monitor: PodMonitor = PodMonitor()
    rules: Rules = Rules()
    dashboards: Dashboards = Dashboards()


class Values(Part):
    """All values of the chart."""

    image: Image = Image()
    image_pull_secrets: list[Name] = []
    trainer: Trainer = Trainer()
    operator: Operator = Operator()
    broker: Broker = Broker()
    store: Store = Store()
    ledger: Ledger = Ledger()
    persistence: Persistence = Persistence()
    tls: Tls = Tls()
    crds: Crds = Crds()
    network_policies: NetworkPolicies = NetworkPolicies()
    flow_schema: FlowSchema = FlowSchema()
    monitoring: Monitoring = Monitoring()
    global_: Object = Field(default={}, alias="global", description="Helm's own, of no meaning here.")
