"""The chart as one file for `kubectl apply --server-side`, for whoever does without helm:
`python -m collabspace.chart.manifests CHART VALUES FILE`.

Nothing is read from a cluster, so that what helm keeps over upgrades cannot be kept here: the broker's certificate has
to come from somebody else.
"""

import sys
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart, HelmError, disable_logging

from collabspace.api import names
from collabspace.chart.values import Values

RELEASE = "collabspace"
CLUSTER_WIDE = {
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "FlowSchema",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}
OWN_AUTHORITY = (
    "tls.mode is SelfSigned, which needs helm: each rendering would make another authority, and running trainers would "
    "not trust the broker any more; give Secret or CertManager"
)
HEADER = "# Made by `make manifests`; kubectl apply --server-side -f FILE\n"


class ManifestsError(Exception):
    """The values cannot be rendered; the message is one line for whoever gave them."""


def render(chart: Path, values: dict[str, Any]) -> str:
    """All objects of a release in namespace collabspace-system, which is not among them. Raises ManifestsError."""
    if not isinstance(values, dict):
        raise ManifestsError("the values are no mapping; give a file as for helm -f")
    try:
        with Chart.load(chart) as loaded:
            files = loaded.render(values=values, name=RELEASE, namespace=names.SYSTEM_NAMESPACE)
    except HelmError as error:
        raise ManifestsError(" ".join(str(error).split())) from error
    if Values.model_validate(values).tls.mode == "SelfSigned":
        raise ManifestsError(OWN_AUTHORITY)
    texts = [text for name, text in sorted(files.items()) if name.endswith(".yaml")]
    objects = [each for text in texts for each in yaml.safe_load_all(text) if each]
    # Kinds first: whoever waits for them finds them.
    objects.sort(key=lambda each: each["kind"] != "CustomResourceDefinition")
    for each in objects:
        if each["kind"] not in CLUSTER_WIDE:
            each["metadata"].setdefault("namespace", names.SYSTEM_NAMESPACE)
    return HEADER + yaml.safe_dump_all(objects, sort_keys=False, width=120)


def main() -> int:
    chart, values, file = map(Path, sys.argv[1:])
    disable_logging()
    try:
        text = render(chart, yaml.safe_load(values.read_text()) or {})
    except (ManifestsError, OSError, yaml.YAMLError) as error:
        sys.stderr.write(f"error: {values}: {' '.join(str(error).split())}\n")
        return 1
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    sys.stdout.write(f"{file}: {text.count(chr(10) + 'kind: ')} objects\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
