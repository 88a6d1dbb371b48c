"""What `make kind-up` puts together fits: ports, networks, names and labels are the same in every file, and each file
is what its reader takes. Docker is not needed; the cluster itself is not started here."""

import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import debian_packages
from chart_cases import CHART, NAMESPACE, ROOT, render
from collabspace.api import names

FOLDER = ROOT / "examples" / "kind"
SCRIPT = FOLDER / "kind.sh"
# Fields of kind.x-k8s.io/v1alpha4, which refuses others.
CLUSTER_FIELDS = {
    "kind",
    "apiVersion",
    "name",
    "nodes",
    "networking",
    "featureGates",
    "runtimeConfig",
    "kubeadmConfigPatches",
    "kubeadmConfigPatchesJSON6902",
    "containerdConfigPatches",
    "containerdConfigPatchesJSON6902",
}
NODE_FIELDS = {
    "role",
    "image",
    "labels",
    "extraMounts",
    "extraPortMappings",
    "gpus",
    "kubeadmConfigPatches",
    "kubeadmConfigPatchesJSON6902",
}
NETWORKING_FIELDS = {
    "ipFamily",
    "apiServerPort",
    "apiServerAddress",
    "podSubnet",
    "serviceSubnet",
    "disableDefaultCNI",
    "kubeProxyMode",
    "dnsSearch",
}
PORT_FIELDS = {"containerPort", "hostPort", "listenAddress", "protocol"}


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return dict(read("kind-config.yaml"))


@pytest.fixture(scope="module")
def monitoring() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / "monitoring.yaml").read_text()))


@pytest.fixture(scope="module")
def release() -> list[dict[str, Any]]:
    return render(read("examples/kind/values.yaml"))


def one(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = (each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return found


def node_ports(objects: list[dict[str, Any]]) -> set[int]:
    services = [each["spec"] for each in objects if each["kind"] == "Service"]
    return {port["nodePort"] for spec in services for port in spec["ports"] if "nodePort" in port}


def test_kind_knows_every_field_of_its_configuration(config: dict[str, Any]) -> None:
    assert (config["kind"], config["apiVersion"]) == ("Cluster", "kind.x-k8s.io/v1alpha4")
    assert set(config) <= CLUSTER_FIELDS
    assert set(config["networking"]) <= NETWORKING_FIELDS
    for node in config["nodes"]:
        assert set(node) <= NODE_FIELDS
        assert node["role"] in ("control-plane", "worker")
        for port in node.get("extraPortMappings", ()):
            assert set(port) <= PORT_FIELDS
    assert [node["role"] for node in config["nodes"]] == ["control-plane", "worker", "worker"]


def test_every_published_port_leads_to_a_service_and_is_open_on_this_machine_alone(
    config: dict[str, Any], monitoring: list[dict[str, Any]], release: list[dict[str, Any]]
) -> None:
    ports = [port for node in config["nodes"] for port in node.get("extraPortMappings", ())]
    assert {port["containerPort"] for port in ports} == node_ports(monitoring) | node_ports(release)
    assert {port["listenAddress"] for port in ports} == {"127.0.0.1"}
    published = {port["containerPort"]: port["hostPort"] for port in ports}
    (broker,) = node_ports(release)
    assert one(release, "ConfigMap", names.BROKER_CONFIG_MAP)["data"]["url"] == f"https://localhost:{published[broker]}"
    said = SCRIPT.read_text()
    for port in published.values():
        assert f"localhost:{port}" in said


def test_who_comes_from_outside_is_told_by_the_network_of_the_pods(
    config: dict[str, Any], monitoring: list[dict[str, Any]], release: list[dict[str, Any]]
) -> None:
    policies = (one(release, "NetworkPolicy", "collabspace-broker"), one(monitoring, "NetworkPolicy", "grafana"))
    for policy in policies:
        blocks = [peer["ipBlock"] for peer in policy["spec"]["ingress"][0]["from"] if "ipBlock" in peer]
        assert blocks == [{"cidr": "0.0.0.0/0", "except": [config["networking"]["podSubnet"]]}]


def test_workers_bear_the_label_by_which_the_script_finds_them(config: dict[str, Any]) -> None:
    workers = [node for node in config["nodes"] if node["role"] == "worker"]
    assert all(node["labels"] == {names.SIMULATED_GPU_LABEL: "true"} for node in workers)
    assert SCRIPT.read_text().count(f"get nodes -l {names.SIMULATED_GPU_LABEL} ") == 2
    assert f"CLUSTER={config['name']}\n" in SCRIPT.read_text()


def test_the_manifests_are_valid_and_fit_the_strictest_pod_security(monitoring: list[dict[str, Any]]) -> None:
    for each in monitoring:
        kubernetes_validate.validate(each, "1.36", strict=True)
    for each in (each for each in monitoring if each["kind"] == "Deployment"):
        pod = each["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsUser"] > 0
        (container,) = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert re.fullmatch(r"\w+/\w+:v?\d+\.\d+\.\d+", container["image"])


def test_the_script_makes_every_config_map_that_is_mounted_of_files_that_are_there(
    monitoring: list[dict[str, Any]],
) -> None:
    made = dict(re.findall(r"^  configmap (\S+) (.+)$", SCRIPT.read_text(), re.MULTILINE))
    pods = [each["spec"]["template"]["spec"] for each in monitoring if each["kind"] == "Deployment"]
    assert set(made) == {
        volume["configMap"]["name"] for pod in pods for volume in pod["volumes"] if "configMap" in volume
    }
    for files in made.values():
        assert all((ROOT / file).exists() for file in files.split())
    home = one(monitoring, "Deployment", "grafana")["spec"]["template"]["spec"]["containers"][0]["env"]
    (page,) = (each["value"] for each in home if each["name"].endswith("HOME_DASHBOARD_PATH"))
    assert (CHART / "files" / "dashboards" / Path(page).name).exists()
    assert str(Path(page).parent) == read("examples/kind/provider.yaml")["providers"][0]["options"]["path"]


def test_prometheus_reads_the_pods_of_the_chart_and_is_let_in(
    monitoring: list[dict[str, Any]], release: list[dict[str, Any]]
) -> None:
    (job,) = read("examples/kind/prometheus.yml")["scrape_configs"]
    assert job["kubernetes_sd_configs"] == [{"role": "pod", "namespaces": {"names": [NAMESPACE]}}]
    kept = {rule["source_labels"][0]: rule["regex"] for rule in job["relabel_configs"] if rule.get("action") == "keep"}
    pods = [each["spec"]["template"] for each in release if each["kind"] == "Deployment"]
    assert len(pods) == 2
    for pod in pods:
        told = kept["__meta_kubernetes_pod_label_app_kubernetes_io_name"]
        assert pod["metadata"]["labels"]["app.kubernetes.io/name"] == told
        ports = [port["name"] for port in pod["spec"]["containers"][0]["ports"]]
        assert ports.count(kept["__meta_kubernetes_pod_container_port_name"]) == 1
    reader = one(monitoring, "Deployment", "prometheus")
    for component in ("operator", "broker"):
        rules = one(release, "NetworkPolicy", f"collabspace-{component}")["spec"]["ingress"]
        (peer,) = rules[-1]["from"]
        labels = reader["spec"]["template"]["metadata"]["labels"]
        assert peer["podSelector"]["matchLabels"].items() <= labels.items()
        assert peer["namespaceSelector"]["matchLabels"] == {
            "kubernetes.io/metadata.name": reader["metadata"]["namespace"]
        }
    datasource = read("examples/kind/datasource.yaml")["datasources"][0]
    service = one(monitoring, "Service", "prometheus")["spec"]["ports"][0]["port"]
    assert datasource["url"] == f"http://prometheus:{service}"


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    root = debian_packages.PROMETHEUS.root()
    if root is None:
        pytest.skip("promtool is not here: `make prometheus` says why")
    plan = read("examples/kind/prometheus.yml")
    # Debian's build cannot ask Kubernetes for targets.
    del plan["scrape_configs"][0]["kubernetes_sd_configs"]
    plan["rule_files"] = [str(CHART / Path(file).name) for file in plan["rule_files"]]
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml.safe_dump(plan))
    promtool = root / "usr" / "bin" / "promtool"
    told = subprocess.run([promtool, "check", "config", file], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "1 rule files found" in told.stdout


@pytest.mark.parametrize("action", ["up 0.1.0", "down", "check"])
def test_what_is_missing_is_said_in_one_line_with_what_to_do_instead(action: str, tmp_path: Path) -> None:
    for program in ("bash", "dirname"):
        (tmp_path / program).symlink_to(Path("/usr/bin") / program)
    (tmp_path / "kubectl").symlink_to("/usr/bin/true")
    told = subprocess.run(
        [SCRIPT, *action.split()], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert told.returncode == 1
    assert told.stdout == ""
    assert told.stderr == (
        "kind needs docker kind helm on the PATH; install what is missing, or run `make demo`, "
        "which needs none of them\n"
    )
