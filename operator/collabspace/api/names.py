"""Every name that other programs see: group, labels, annotations, accounts, object names. Each is spelled here only."""

import hashlib
from typing import Final

GROUP: Final = "collabspace.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

SHARED_DATASETS: Final = "shareddatasets"
COLLAB_TASKS: Final = "collabtasks"
MODEL_SELECTIONS: Final = "modelselections"

# A team is a namespace with this label; the admin sets the annotations on it.
TEAM_LABEL: Final = f"{GROUP}/team"
GPU_QUOTA: Final = f"{GROUP}/gpu-quota"
CPU_QUOTA: Final = f"{GROUP}/cpu-quota"
WEIGHT: Final = f"{GROUP}/weight"
COHORT: Final = f"{GROUP}/cohort"
GPU_HOURS_PER_WEEK: Final = f"{GROUP}/gpu-hours-per-week"
SKILLS: Final = f"{GROUP}/skills"
ACCEPTS_TASKS_FROM: Final = f"{GROUP}/accepts-tasks-from"

# Labels on the operator's Jobs and their pods.
TASK_LABEL: Final = f"{GROUP}/task"
TASK_UID_LABEL: Final = f"{GROUP}/task-uid"
ATTEMPT_LABEL: Final = f"{GROUP}/attempt"
# On a Job that is to stop: why, for whoever looks after the pod has ended.
STOP_REASON: Final = f"{GROUP}/stop-reason"
STOP_MESSAGE: Final = f"{GROUP}/stop-message"
SIMULATED_GPU_LABEL: Final = f"{GROUP}/simulated-gpu"

# The platform's own place and identities.
SYSTEM_NAMESPACE: Final = "collabspace-system"
OPERATOR_ACCOUNT: Final = "collabspace-operator"
BROKER_ACCOUNT: Final = "collabspace-broker"

# Accounts in every team namespace: pods run as the first, people borrow the other two for ten minutes at a time.
TRAINER_ACCOUNT: Final = "collabspace-trainer"
PUBLISHER_ACCOUNT: Final = "collabspace-publisher"
READER_ACCOUNT: Final = "collabspace-reader"
# In the platform's own namespace: whoever may mint its tokens administers the store (rebind).
ADMIN_ACCOUNT: Final = "collabspace-admin"
OPERATOR_TEAM_ROLE: Final = "collabspace-operator-team"
# People of a team: Kubernetes' own `edit` in its namespace, and leave to look up other teams' namespaces.
MEMBERS_BINDING: Final = "collabspace-members"
MEMBER_ROLE: Final = "collabspace-member"

# The ConfigMap in every team namespace that says where the broker is (keys below).
BROKER_CONFIG_MAP: Final = "collabspace-broker"
BROKER_URL_KEY: Final = "url"
BROKER_CA_KEY: Final = "ca.crt"

# Of the broker's pods in a cluster, behind whatever Service; and, where readers fetch from the store itself, the key of
# the ConfigMap above that says on which port.
BROKER_PORT: Final = 8443
STORE_PORT_KEY: Final = "store-port"
# The NetworkPolicy of trainer pods in every team namespace.
TRAINER_NETWORK_POLICY: Final = "collabspace-trainers"

# Tokens for the broker carry this audience and nothing else accepts them.
BROKER_AUDIENCE: Final = "broker.collabspace.io"

GPU_RESOURCE: Final = "nvidia.com/gpu"

TRAINER_CONTAINER: Final = "trainer"
TRAINER_IMAGE: Final = "collabspace/trainer"

# The last of the admission policies: once it refuses, all of them do.
JOBS_POLICY: Final = "collabspace-jobs"


def job_name(task: str, attempt: int) -> str:
    """The Job of one attempt; the number in the name is the fence against a late writer."""
    return f"{task}-{attempt}"


MAX_TASK_NAME: Final = 50


def trial_name(selection: str, part: str, run: int = 0) -> str:
    """The CollabTask of one run of a candidate, or of a comparison, that belongs to a ModelSelection.

    What would be longer than a task's name may be is cut and told apart by a hash.
    """
    name = f"{selection}-{part}" + (f"-{run}" if run else "")
    if len(name) <= MAX_TASK_NAME:
        return name
    return f"{name[:40].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
