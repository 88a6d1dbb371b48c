"""The chart: its values are typed, what it renders is valid and the same until somebody means it to change."""

import os
import tomllib
from copy import deepcopy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from helm_python import HelmError, lint

from chart_cases import CASES, CHART, FOREIGN, NAMESPACE, PEM, ROOT, case, render
from collabspace.chart import main as generated
from collabspace.chart import manifests
from collabspace.chart.values import Values

GOLDEN = Path(__file__).parent / "golden"
UPDATE = "UPDATE_GOLDEN"
# Files of the embedded cluster, taken over whole.
TAKEN_OVER = {
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "Role",
    "RoleBinding",
    "ServiceAccount",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}
MADE_ANEW = "made anew without a cluster"
KEPT_APART = {".crt": MADE_ANEW, ".json": "as in files/dashboards"}


def pods(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each["spec"]["template"]["spec"] for each in objects if each["kind"] == "Deployment"]


def test_the_checked_in_files_are_the_generated_ones(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    generated.write(tmp_path / "chart", tmp_path / "docs")
    for file in (path for path in tmp_path.rglob("*") if path.is_file()):
        kept = CHART if file.is_relative_to(tmp_path / "chart") else ROOT / "docs" / "reference"
        base = tmp_path / ("chart" if kept == CHART else "docs")
        assert (kept / file.relative_to(base)).read_text() == file.read_text(), file.name


def test_values_yaml_names_every_value_with_its_default() -> None:
    told = yaml.safe_load((CHART / "values.yaml").read_text())
    assert told == Values().model_dump(mode="json", by_alias=True, exclude={"global_"})


@pytest.mark.parametrize("name", CASES)
def test_lint_finds_nothing_but_the_missing_icon(name: str) -> None:
    report = lint(CHART, CASES[name], strict=True, namespace=NAMESPACE)
    assert [each["error"] for each in report["messages"]] == ["icon is recommended"]
    assert not report["errors"]


@pytest.mark.parametrize("name", CASES)
def test_what_is_rendered_is_valid_kubernetes(name: str) -> None:
    for each in case(name):
        if each["kind"] not in FOREIGN | (TAKEN_OVER if name != "default" else set()):
            kubernetes_validate.validate(each, "1.36", strict=True)


@pytest.mark.parametrize("name", CASES)
def test_what_is_rendered_is_what_was_agreed_on(name: str) -> None:
    objects = deepcopy([each for each in case(name) if each["kind"] not in TAKEN_OVER])
    for each in objects:
        if each["kind"] == "Secret":
            each["data"] = dict.fromkeys(each["data"], MADE_ANEW)
        if each["kind"] == "ConfigMap":
            each["data"] = {key: KEPT_APART.get(Path(key).suffix, text) for key, text in each["data"].items()}
        if each["kind"] == "Deployment":
            del each["spec"]["template"]["metadata"]["annotations"]["checksum/authority"]
    text = yaml.safe_dump_all(objects, sort_keys=False, width=120)
    golden = GOLDEN / f"{name}.yaml"
    if os.environ.get(UPDATE):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text(), f"if this is meant: {UPDATE}=1 pytest {Path(__file__).name}, and read the diff"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"brokr": {}}, "brokr"),
        ({"broker": {"replica": 2}}, "replica"),
        ({"broker": {"replicas": 0}}, "/broker/replicas"),
        ({"broker": {"replicas": "two"}}, "/broker/replicas"),
        ({"broker": {"reads": "redirect"}}, "'Gateway', 'Redirect'"),
        ({"broker": {"externalUrl": "http://plain"}}, "/broker/externalUrl"),
        ({"broker": {"service": {"type": "NodePort"}}}, "broker.externalUrl is empty"),
        ({"broker": {"externalUrl": "https://data.example:30843"}}, "tls.extraNames does not"),
        ({"broker": {"service": {"nodePort": 30843}}}, "it needs broker.service.type NodePort"),
        ({"store": {"type": "GCS"}}, "'Filesystem', 'S3'"),
        ({"store": {"s3": {"endpoint": "https://key:secret@host"}}}, "/store/s3/endpoint"),
        ({"store": {"s3": {"pathStyle": "yes"}}}, "/store/s3/pathStyle"),
        ({"ledger": {"type": "MySQL"}}, "'SQLite', 'PostgreSQL'"),
        ({"ledger": {"postgresql": {"port": 70000}}}, "/ledger/postgresql/port"),
        ({"persistence": {"size": "100 GB"}}, "/persistence/size"),
        ({"image": {"digest": "latest"}}, "/image/digest"),
        ({"trainer": {"allowedImages": ["it's"]}}, "/trainer/allowedImages/0"),
        ({"trainer": {"withGpu": {"nodeSelecter": {}}}}, "nodeSelecter"),
        ({"tls": {"mode": "Off"}}, "'SelfSigned', 'CertManager', 'Secret'"),
        ({"networkPolicies": {"apiServerPorts": [0]}}, "/networkPolicies/apiServerPorts/0"),
        ({"monitoring": {"rules": {"runbookBaseUrl": "a: b"}}}, "/monitoring/rules/runbookBaseUrl"),
    ],
)
def test_a_wrong_value_stops_the_install_with_its_path_or_what_is_allowed(values: dict[str, Any], words: str) -> None:
    with pytest.raises(HelmError) as refused:
        render(values)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"broker": {"replicas": 2}}, "broker.replicas is 2; more than 1 needs store.type S3 and ledger.type"),
        ({"broker": {"reads": "Redirect"}}, "broker.reads is Redirect; it needs store.type S3"),
        ({"store": {"type": "S3"}}, "store.s3.bucket is empty"),
        ({"ledger": {"type": "PostgreSQL"}}, "ledger.postgresql.host is empty"),
        ({"ledger": {"type": "PostgreSQL", "postgresql": {"host": "db"}}}, "ledger.postgresql.secretName is empty"),
        ({"tls": {"mode": "Secret", "ca": PEM}}, "tls.secretName is empty"),
        ({"tls": {"mode": "Secret", "secretName": "tls"}}, "tls.ca is empty; tls.mode Secret needs the PEM"),
        ({"tls": {"mode": "CertManager", "ca": PEM}}, "tls.issuerRef.name is empty"),
    ],
)
def test_values_that_do_not_go_together_stop_the_install(values: dict[str, Any], words: str) -> None:
    with pytest.raises(HelmError) as refused:
        render(values)
    assert words in str(refused.value)


@pytest.mark.parametrize("name", CASES)
def test_every_pod_is_fit_for_the_strictest_pod_security(name: str) -> None:
    found = pods(case(name))
    assert len(found) == 2
    for pod in found:
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        for container in pod["containers"]:
            inside = container["securityContext"]
            assert inside["readOnlyRootFilesystem"]
            assert not inside["allowPrivilegeEscalation"]
            assert inside["capabilities"] == {"drop": ["ALL"]}
        assert {next(iter(set(volume) - {"name"})) for volume in pod["volumes"]} <= {
            "secret",
            "configMap",
            "emptyDir",
            "persistentVolumeClaim",
        }


def test_no_role_reads_secrets_or_says_all() -> None:
    roles = [each for each in case("default") if each["kind"] in ("Role", "ClusterRole")]
    rules = [rule for role in roles for rule in role["rules"]]
    assert rules
    for rule in rules:
        assert "secrets" not in rule["resources"]
        assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]


def test_the_guards_allow_the_images_that_trainers_run() -> None:
    objects = case("production")
    policy = next(
        each
        for each in objects
        if each["kind"] == "ValidatingAdmissionPolicy" and each["metadata"]["name"] == "collabspace-jobs"
    )
    (images,) = (each["expression"] for each in policy["spec"]["variables"] if each["name"] == "images")
    assert images == "['registry.example/trainer:cuda', 'registry.example/trainer:before']"
    operator = next(each for each in pods(objects) if each["containers"][0]["name"] == "operator")
    told = {each["name"]: each.get("value") for each in operator["containers"][0]["env"]}
    assert told["COLLABSPACE_TRAINER_IMAGE"] == "registry.example/trainer:cuda"


def test_manifests_without_helm_are_the_objects_of_a_release_with_their_namespace() -> None:
    objects = list(yaml.safe_load_all(manifests.render(CHART, CASES["production"])))
    assert len(objects) == len(case("production"))
    for each in objects:
        assert (each["kind"] in manifests.CLUSTER_WIDE) == ("namespace" not in each["metadata"])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "tls.mode is SelfSigned, which needs helm"),
        ({"tls": 1}, "at '/tls'"),
        ({"brokr": {}}, "brokr"),
        (["tls"], "the values are no mapping"),
    ],
)
def test_manifests_that_cannot_be_kept_or_are_wrong_are_refused_in_one_line(values: Any, words: str) -> None:
    with pytest.raises(manifests.ManifestsError) as refused:
        manifests.render(CHART, values)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_chart_and_images_bear_the_version_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)
    for image in ("operator", "trainer_image"):
        assert f'org.opencontainers.image.version="{version}"' in (ROOT / image / "Dockerfile").read_text()
