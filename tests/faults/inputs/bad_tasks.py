"""Bad CollabTasks, by class."""

from typing import Any

from bad_input import ALARM, DROP, OK, TASK, Case, Change, digest_of

LONG = "x" * 300_000
REFERENCE = {"namespace": "elsewhere", "name": "table"}


def _case(name: str, change: Change, refused: str = "", *ends: str, **more: Any) -> Case:
    return Case(name, TASK, change, refused, ends or ("InvalidSpec",), **more)


def _model(**fields: Any) -> Change:
    return {"spec/modelFrom": {"namespace": "elsewhere", "name": "bert"} | fields}


def _nested(depth: int) -> Any:
    found: Any = []
    for _ in range(depth):
        found = [found]
    return found


JUDGED_BY_NOBODY = ("InvalidSpec", ALARM)

STRUCTURE = [
    _case("structure.task-without-spec", {"spec": DROP}, "spec", *JUDGED_BY_NOBODY),
    _case("structure.task-spec-null", {"spec": None}, "spec", *JUDGED_BY_NOBODY),
    _case("structure.task-spec-a-list", {"spec": []}, "spec", *JUDGED_BY_NOBODY),
    _case("structure.task-spec-a-text", {"spec": "train"}, "spec", *JUDGED_BY_NOBODY),
    _case("structure.task-spec-empty", {"spec": {}}, "spec.task", *JUDGED_BY_NOBODY),
    _case("structure.task-missing", {"spec/task": DROP}, "spec.task", *JUDGED_BY_NOBODY),
    _case("structure.method-missing", {"spec/method": DROP}, "spec.method", *JUDGED_BY_NOBODY),
    _case("structure.method-a-number", {"spec/method": 7}, "spec.method", *JUDGED_BY_NOBODY),
    _case("structure.method-an-object", {"spec/method": {"name": "x"}}, "spec.method", *JUDGED_BY_NOBODY),
    _case("structure.task-a-flag", {"spec/task": True}, "spec.task", *JUDGED_BY_NOBODY),
    _case("structure.datasets-missing", {"spec/datasets": DROP}, "spec.datasets", *JUDGED_BY_NOBODY),
    _case("structure.datasets-null", {"spec/datasets": None}, "spec.datasets", *JUDGED_BY_NOBODY),
    _case("structure.datasets-empty", {"spec/datasets": []}, "spec.datasets", *JUDGED_BY_NOBODY),
    _case("structure.datasets-a-text", {"spec/datasets": "none"}, "spec.datasets", *JUDGED_BY_NOBODY),
    _case("structure.datasets-an-object", {"spec/datasets": {"a": 1}}, "spec.datasets", *JUDGED_BY_NOBODY),
    _case("structure.datasets-of-null", {"spec/datasets": [None]}, "spec.datasets", *JUDGED_BY_NOBODY),
    _case("structure.datasets-of-texts", {"spec/datasets": ["table"]}, "spec.datasets[0]", *JUDGED_BY_NOBODY),
    _case("structure.parameters-a-list", {"spec/parameters": [1]}, "spec.parameters", *JUDGED_BY_NOBODY),
    _case("structure.parameter-a-list", {"spec/parameters/C": [1]}, "spec.parameters.C", *JUDGED_BY_NOBODY),
    _case("structure.parameter-an-object", {"spec/parameters/C": {"a": 1}}, "spec.parameters.C", *JUDGED_BY_NOBODY),
    _case("structure.parameter-a-flag", {"spec/parameters/C": True}, "spec.parameters.C", *JUDGED_BY_NOBODY),
    _case(
        "structure.parameters-500",
        {"spec/parameters": {f"p{number}": number for number in range(500)}},
        "spec.parameters",
        "InvalidParameter",
    ),
    _case("structure.suspend-a-text", {"spec/suspend": "yes"}, "spec.suspend", *JUDGED_BY_NOBODY, "Suspended"),
    _case("structure.seed-a-text", {"spec/seed": "7"}, "spec.seed", *JUDGED_BY_NOBODY, OK),
    _case("structure.gates-an-object", {"spec/gates": {"metric": "accuracy"}}, "spec.gates", *JUDGED_BY_NOBODY),
    _case("structure.budget-a-number", {"spec/budget": 5}, "spec.budget", *JUDGED_BY_NOBODY),
    _case("structure.resources-a-list", {"spec/resourcesPerNode": ["1"]}, "spec.resourcesPerNode", *JUDGED_BY_NOBODY),
    _case("structure.method-300-kB", {"spec/method": LONG}, "spec.method"),
    _case("structure.nested-200", {"spec/method": _nested(200)}, "spec.method", *JUDGED_BY_NOBODY),
    _case("structure.unknown-fields", {"spec/podSpec": {"hostNetwork": True}, "spec/x": 1, "extra": [1]}, "", OK),
]

NAMES = [
    _case("names.task-51-long", {"metadata/name": "n" * 51}, "metadata.name", *JUDGED_BY_NOBODY),
    _case("names.task-with-dot", {"metadata/name": "a.b"}, "metadata.name", *JUDGED_BY_NOBODY),
    _case("names.task-upper-case", {"metadata/name": "Upper"}, "metadata.name", "NotAllowed"),
    _case("names.task-253-long", {"metadata/name": "n" * 253}, "metadata.name", *JUDGED_BY_NOBODY),
    _case("names.task-like-a-job", {"metadata/name": "healthy-1"}, "", OK),
    _case("names.task-all-digits", {"metadata/name": "0"}, "", OK),
    _case("names.task-unknown", {"spec/task": "Vision"}, "", "UnknownMethod"),
    _case("names.method-unknown", {"spec/method": "LogisticRegresion"}, "", "UnknownMethod"),
    _case("names.method-other-case", {"spec/method": "logisticregression"}, "", "UnknownMethod"),
    _case("names.method-empty", {"spec/method": ""}, "spec.method"),
    _case("names.method-65-long", {"spec/method": "m" * 65}, "spec.method"),
    _case("names.method-unicode", {"spec/method": "‮LogisticRegression\u200b"}, "", "UnknownMethod"),
    _case("names.method-with-escapes", {"spec/method": "\x1b[31mred\x07\r\n"}, "", "UnknownMethod"),
    _case("names.dataset-upper-case", {"spec/datasets/0/name": "Train"}, "spec.datasets[0].name"),
    _case("names.dataset-empty", {"spec/datasets/0/name": ""}, "spec.datasets[0].name"),
    _case("names.dataset-5000-long", {"spec/datasets/0/name": "x" * 5000}, "spec.datasets[0].name"),
    _case("names.dataset-missing", {"spec/datasets/0/name": DROP}, "spec.datasets[0].name"),
    _case(
        "names.datasets-same-name",
        {"spec/datasets/+": {"name": "train", "datasetRef": REFERENCE}},
        "spec.datasets[1]",
        *JUDGED_BY_NOBODY,
    ),
    _case(
        "names.datasets-17",
        {"spec/datasets": [{"name": f"d{number}", "datasetRef": REFERENCE} for number in range(17)]},
        "spec.datasets",
        "InvalidSpec",
    ),
    _case("names.parameter-unknown", {"spec/parameters": {"maxIteration": 1}}, "", "InvalidParameter"),
    _case("names.parameter-proto", {"spec/parameters": {"__proto__": 1, "": "x"}}, "", "InvalidParameter"),
    _case("names.parameter-65-long", {"spec/parameters": {"k" * 65: 1}}, "", *JUDGED_BY_NOBODY, "InvalidParameter"),
    _case("names.gate-unknown-metric", {"spec/gates/0/metric": "beauty"}, "", "InvalidSpec"),
    _case("names.gate-twice", {"spec/gates/+": {"metric": "accuracy", "minimum": "1"}}, "spec.gates[1]", ALARM, OK),
    _case("names.gate-on-a-loss", {"spec/gates/0/metric": "log_loss"}, "", "InvalidSpec"),
    _case("names.labels-of-ours", {"metadata/labels": {"collabspace.io/task": "x"}}, "", OK),
    _case("names.finalizer-of-a-stranger", {"metadata/finalizers": ["example.com/never"]}, "", OK),
]

NUMBERS = [
    _case("numbers.seed-negative", {"spec/seed": -1}, "spec.seed"),
    _case("numbers.seed-2-to-31", {"spec/seed": 2**31}, "spec.seed"),
    _case("numbers.seed-2-to-64", {"spec/seed": 2**64}, "spec.seed", *JUDGED_BY_NOBODY),
    _case("numbers.seed-a-fraction", {"spec/seed": 1.5}, "spec.seed", *JUDGED_BY_NOBODY),
    _case("numbers.priority-1001", {"spec/priority": 1001}, "spec.priority"),
    _case("numbers.priority-minus-10-to-18", {"spec/priority": -(10**18)}, "spec.priority"),
    _case("numbers.attempts-0", {"spec/maxAttempts": 0}, "spec.maxAttempts"),
    _case("numbers.attempts-11", {"spec/maxAttempts": 11}, "spec.maxAttempts"),
    _case("numbers.active-deadline-0", {"spec/activeDeadlineSeconds": 0}, "spec.activeDeadlineSeconds"),
    _case("numbers.active-deadline-huge", {"spec/activeDeadlineSeconds": 10**15}, "spec.activeDeadlineSeconds"),
    _case("numbers.pending-deadline-negative", {"spec/pendingDeadlineSeconds": -5}, "spec.pendingDeadlineSeconds"),
    _case("numbers.pending-deadline-huge", {"spec/pendingDeadlineSeconds": 2**62}, "spec.pendingDeadlineSeconds"),
    _case("numbers.ttl-negative", {"spec/ttlSecondsAfterFinished": -1}, "spec.ttlSecondsAfterFinished"),
    _case(
        "numbers.ttl-a-text", {"spec/ttlSecondsAfterFinished": "1h"}, "spec.ttlSecondsAfterFinished", *JUDGED_BY_NOBODY
    ),
    _case("numbers.cpu-a-word", {"spec/resourcesPerNode/cpu": "a lot"}, "spec.resourcesPerNode.cpu"),
    _case("numbers.cpu-negative", {"spec/resourcesPerNode/cpu": "-1"}, "spec.resourcesPerNode.cpu"),
    _case("numbers.cpu-negative-number", {"spec/resourcesPerNode/cpu": -1}, "spec.resourcesPerNode.cpu"),
    _case("numbers.cpu-exponent", {"spec/resourcesPerNode/cpu": "1e9"}, "spec.resourcesPerNode.cpu"),
    _case("numbers.cpu-zero", {"spec/resourcesPerNode/cpu": "0"}, "", "InvalidSpec"),
    _case("numbers.cpu-2-to-60", {"spec/resourcesPerNode/cpu": 2**60}, "spec.resourcesPerNode.cpu", "ExceedsCapacity"),
    _case("numbers.cpu-30-digits", {"spec/resourcesPerNode/cpu": "9" * 30 + "Ti"}, "", "InvalidSpec"),
    _case("numbers.cpu-20-digits", {"spec/resourcesPerNode/cpu": "9" * 20 + "Ti"}, "", "ExceedsCapacity"),
    _case("numbers.cpu-of-digits-of-arabic", {"spec/resourcesPerNode/cpu": "١"}, "spec.resourcesPerNode.cpu"),
    _case("numbers.memory-zero", {"spec/resourcesPerNode/memory": "0Mi"}, "", "InvalidSpec"),
    _case("numbers.memory-fraction", {"spec/resourcesPerNode/memory": "0.0000001"}, "", "Starting", "NotAllowed", OK),
    _case("numbers.memory-tiny-unit", {"spec/resourcesPerNode/memory": "1m"}, "", "Starting", "NotAllowed", OK),
    _case("numbers.memory-no-unit", {"spec/resourcesPerNode/memory": "1GB"}, "spec.resourcesPerNode.memory"),
    _case("numbers.memory-newline", {"spec/resourcesPerNode/memory": "1Gi\n"}, "spec.resourcesPerNode.memory"),
    _case("numbers.gpu-half", {"spec/resourcesPerNode/nvidia.com~gpu": "0.5"}, "spec.resourcesPerNode.nvidia.com/gpu"),
    _case(
        "numbers.gpu-negative", {"spec/resourcesPerNode/nvidia.com~gpu": "-1"}, "spec.resourcesPerNode.nvidia.com/gpu"
    ),
    _case("numbers.gpu-beyond-quota", {"spec/resourcesPerNode/nvidia.com~gpu": 9999}, "", "ExceedsQuota"),
    _case("numbers.budget-zero", {"spec/budget/cpuSeconds": 0}, "spec.budget.cpuSeconds"),
    _case("numbers.budget-2-to-63", {"spec/budget/gpuSeconds": 2**63 - 1}, "spec.budget.gpuSeconds"),
    _case("numbers.gate-a-number", {"spec/gates/0/minimum": 0.5}, "spec.gates[0].minimum", *JUDGED_BY_NOBODY),
    _case("numbers.gate-not-a-number", {"spec/gates/0/minimum": "NaN"}, "spec.gates[0].minimum"),
    _case("numbers.gate-beyond-doubles", {"spec/gates/0/minimum": "1e9999999999999999"}, "spec.gates[0].minimum"),
    _case("numbers.parameter-negative", {"spec/parameters/C": -1}, "", "InvalidParameter"),
    _case("numbers.parameter-not-a-number", {"spec/parameters/C": "NaN"}, "", "InvalidParameter"),
    _case("numbers.parameter-infinite", {"spec/parameters/C": "1e999"}, "", "InvalidParameter"),
    _case("numbers.parameter-2-to-63", {"spec/parameters/C": 2**63 - 1}, "", "InvalidParameter"),
    _case("numbers.parameter-fraction", {"spec/parameters": {"maxIterations": "1.5"}}, "", "InvalidParameter"),
    _case("numbers.parameter-choice", {"spec/parameters/classWeights": "balanced"}, "", "InvalidParameter"),
    _case("numbers.parameter-300-long", {"spec/parameters/C": "1" * 300}, "spec.parameters.C", "InvalidParameter"),
]

SOURCES = [
    _case(
        "sources.path-in-namespace",
        {"spec/datasets/0/datasetRef/namespace": "../kube-system"},
        "spec.datasets[0].datasetRef.namespace",
    ),
    _case(
        "sources.path-in-name",
        {"spec/datasets/0/datasetRef/name": "../secrets/x"},
        "spec.datasets[0].datasetRef.name",
    ),
    _case(
        "sources.query-in-name",
        {"spec/datasets/0/datasetRef/name": "table?watch=1"},
        "spec.datasets[0].datasetRef.name",
    ),
    _case(
        "sources.encoded-slash",
        {"spec/datasets/0/datasetRef/name": "a%2f..%2fb"},
        "spec.datasets[0].datasetRef.name",
    ),
    _case("sources.no-reference", {"spec/datasets/0/datasetRef": DROP}, "spec.datasets[0].datasetRef"),
    _case("sources.reference-null", {"spec/datasets/0/datasetRef": None}, "spec.datasets[0].datasetRef"),
    _case("sources.empty-reference", {"spec/datasets/0/datasetRef": {}}, "spec.datasets[0].datasetRef"),
    _case("sources.url-as-name", {"spec/datasets/0/datasetRef/name": "http://169.254.169.254/"}, "datasetRef.name"),
    _case("sources.not-there", {"spec/datasets/0/datasetRef/name": "nowhere"}, "", "DatasetNotReady"),
    _case("sources.version-unknown", {"spec/datasets/0/version": digest_of("0")}, "", "DatasetNotReady"),
    _case("sources.version-a-word", {"spec/datasets/0/version": "latest"}, "spec.datasets[0].version"),
    _case("sources.version-upper-case", {"spec/datasets/0/version": digest_of("A")}, "spec.datasets[0].version"),
    _case("sources.own-name-as-data", {"spec/datasets/0/datasetRef/name": "good"}, "", "DatasetNotReady"),
    _case("sources.model-for-a-baseline", _model(), "", "InvalidSpec"),
    _case("sources.model-of-no-kind", _model(kind="Secret"), "spec.modelFrom.kind"),
    _case("sources.model-of-other-team", _model(kind="CollabTask"), "", "InvalidSpec"),
    _case("sources.model-path", _model(name="../../etc/passwd"), "spec.modelFrom.name"),
    _case("sources.model-digest-short", _model(digest="sha256:00"), "spec.modelFrom.digest"),
    _case(
        "sources.random-and-model",
        {**_model(), "spec/initialization": "Random"},
        "initialization Random and modelFrom exclude",
        "InvalidSpec",
    ),
    _case("sources.initialization-unknown", {"spec/initialization": "Magic"}, "spec.initialization"),
    _case(
        "sources.results-for-a-baseline",
        {"spec/results": [{"name": "a", "candidate": "a", "taskName": "t", "digest": digest_of("1")}]},
        "",
        "InvalidSpec",
    ),
    _case("sources.comparison-of-nothing", {"spec/method": "Comparison", "spec/parameters": {}}, "", "InvalidSpec"),
    _case("sources.evaluation-of-nothing", {"spec/method": "Evaluation", "spec/parameters": {}}, "", "InvalidSpec"),
    _case(
        "sources.comparison-of-strangers",
        {
            "spec/method": "Comparison",
            "spec/parameters": {"metric": "accuracy"},
            "spec/gates": [],
            "spec/results": [
                {"name": each, "candidate": each, "taskName": "nobody", "digest": digest_of(each)} for each in "ab"
            ],
        },
        "",
        "ResultGone",
    ),
    _case(
        "sources.starts-from-itself", _model(kind="CollabTask", namespace="{namespace}", name="good"), "", "InvalidSpec"
    ),
]

GRANTS = [
    _case("grants.data-of-strangers", {"spec/datasets/0/datasetRef": REFERENCE}, "", "GrantMissing"),
    _case(
        "grants.data-of-the-platform",
        {"spec/datasets/0/datasetRef": {"namespace": "collabspace-system", "name": "x"}},
        "",
        "GrantMissing",
    ),
    _case("grants.role-unknown", {"spec/datasets/0/role": "Download"}, "spec.datasets[0].role"),
    _case("grants.nothing-to-learn", {"spec/datasets/0/role": "Evaluate"}, "must have role Train", "InvalidSpec"),
    _case("grants.wrong-format", {"spec/task": "TextClassification"}, "", "InvalidSpec", "InvalidParameter"),
]

POD = [
    _case("pod.host-network", {"spec/hostNetwork": True}, "", OK),
    _case("pod.image", {"spec/image": "evil/image"}, "", OK),
    _case("pod.command", {"spec/command": ["sh", "-c", "id"]}, "", OK),
    _case("pod.service-account", {"spec/serviceAccountName": "default"}, "", OK),
    _case("pod.template", {"spec/template": {"spec": {"hostPID": True}}}, "", OK),
    _case("pod.volumes", {"spec/volumes": [{"hostPath": {"path": "/"}}]}, "", OK),
    _case("pod.environment", {"spec/env": [{"name": "COLLABSPACE_RUN", "value": "{}"}]}, "", OK),
    _case("pod.node-selector", {"spec/nodeSelector": {"a": "b"}}, "", OK),
    _case("pod.tolerations", {"spec/tolerations": [{"operator": "Exists"}]}, "", OK),
    _case("pod.priority-class", {"spec/priorityClassName": "system-node-critical"}, "", OK),
    _case("pod.other-resource", {"spec/resourcesPerNode/ephemeral-storage": "1Ti"}, "", OK),
    _case("pod.limits-as-kubernetes", {"spec/resourcesPerNode/limits": {"cpu": "1"}}, "", OK),
    _case("pod.nodes-0", {"spec/numNodes": 0}, "", OK),
    _case("pod.shell-in-parameter", {"spec/parameters/C": "$(reboot)"}, "", "InvalidParameter"),
    _case("pod.template-in-parameter", {"spec/parameters/C": "{{ .Values.secret }}"}, "", "InvalidParameter"),
    _case("pod.variable-in-seed", {"spec/seed": "$(COLLABSPACE_TOKEN_FILE)"}, "spec.seed", *JUDGED_BY_NOBODY),
    _case("pod.nul-in-method", {"spec/method": "a\x00b"}, "", "UnknownMethod"),
    _case(
        "pod.document-too-large",
        {"spec/parameters": {f"p{number}": "x" * 256 for number in range(64)}},
        "",
        "InvalidParameter",
    ),
    _case("pod.cpu-of-a-thousand-nodes", {"spec/resourcesPerNode/cpu": "100000000"}, "", "ExceedsCapacity"),
]

TASKS = (*STRUCTURE, *NAMES, *NUMBERS, *SOURCES, *GRANTS, *POD)
