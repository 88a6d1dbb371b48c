"""Conditions and the reasons they give: each reason stands here once, with what it means and what cures it."""

from enum import StrEnum
from typing import Literal, Self

from pydantic import Field

from collabspace.api.resource import Part, TimeText


class ConditionType(StrEnum):
    READY = "Ready"
    CONTRACT_SATISFIED = "ContractSatisfied"
    INTEGRITY_VERIFIED = "IntegrityVerified"
    ACCEPTED = "Accepted"
    DATA_AUTHORIZED = "DataAuthorized"
    ADMITTED = "Admitted"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    STALLED = "Stalled"


DATASET_CONDITIONS = (ConditionType.READY, ConditionType.CONTRACT_SATISFIED, ConditionType.INTEGRITY_VERIFIED)
TASK_CONDITIONS = (
    ConditionType.ACCEPTED,
    ConditionType.DATA_AUTHORIZED,
    ConditionType.ADMITTED,
    ConditionType.RUNNING,
    ConditionType.SUCCEEDED,
    ConditionType.STALLED,
)
SELECTION_CONDITIONS = (
    ConditionType.ACCEPTED,
    ConditionType.RUNNING,
    ConditionType.SUCCEEDED,
    ConditionType.STALLED,
)


class Outcome(StrEnum):
    """What a reason means for the object: work goes on, it waits, one attempt ended and another may follow, it ended
    well, or it ended for good."""

    ACTIVE = "Active"
    WAITING = "Waiting"
    RETRIED = "Retried"
    GOOD = "Good"
    TERMINAL = "Terminal"


class Reason(StrEnum):
    """One word for why things stand as they do. `help` says in a sentence what it means and what to do."""

    outcome: Outcome
    help: str

    def __new__(cls, value: str, outcome: Outcome, text: str) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.outcome = outcome
        member.help = text
        return member

    PENDING = "Pending", Outcome.ACTIVE, "Not looked at yet."
    VALID = "Valid", Outcome.ACTIVE, "The spec is complete and every parameter is known."
    GRANTED = "Granted", Outcome.ACTIVE, "Every dataset is ready and granted to this namespace for this use."
    QUOTA_RESERVED = "QuotaReserved", Outcome.ACTIVE, "The quota covers the task and its Job was created."
    TRAINING = "Training", Outcome.ACTIVE, "The trainer pod runs."
    STARTING = "Starting", Outcome.ACTIVE, "The Job exists; its pod is on its way."
    STOPPING = (
        "Stopping",
        Outcome.ACTIVE,
        "The pod was told to save and stop; the message says why.",
    )
    CONFIRMING = (
        "Confirming",
        Outcome.ACTIVE,
        "The trainer ended well; the broker has yet to confirm the stored result.",
    )
    COMPARING = "Comparing", Outcome.ACTIVE, "All candidates have ended; the best are compared record by record."
    PROMOTING = "Promoting", Outcome.ACTIVE, "The winner is known; the broker sets the alias."
    VERSION_AVAILABLE = "VersionAvailable", Outcome.ACTIVE, "A version can be used."
    VERIFIED = "Verified", Outcome.ACTIVE, "The broker checked every file against its hash and its format."
    HEALTHY = "Healthy", Outcome.ACTIVE, "Nothing stands in the way."

    GRANT_MISSING = (
        "GrantMissing",
        Outcome.WAITING,
        "No dataset of that name is granted to this namespace. Its owner grants it: "
        "kubectl collab grants add DATASET --to NAMESPACE --use Train --until DATE.",
    )
    GRANT_EXPIRED = (
        "GrantExpired",
        Outcome.WAITING,
        "The grant ended. Its owner extends it: kubectl collab grants add with a later --until.",
    )
    USE_NOT_GRANTED = (
        "UseNotGranted",
        Outcome.WAITING,
        "There is a grant, but not for this use. Its owner adds it: kubectl collab grants add --use Train|Evaluate.",
    )
    DATASET_NOT_READY = (
        "DatasetNotReady",
        Outcome.WAITING,
        "The dataset has no such version yet. Its owner pushes one: kubectl collab push DATASET PATH.",
    )
    NO_VERSION = (
        "NoVersion",
        Outcome.WAITING,
        "Nothing was pushed yet: kubectl collab push DATASET PATH.",
    )
    QUARANTINED = (
        "Quarantined",
        Outcome.WAITING,
        "The model was made of data whose owner does not grant that (any more), so nobody can read it. The owner can: "
        "kubectl collab grants add DATASET --to NAMESPACE --use Derive.",
    )
    TEAM_NOT_READY = (
        "TeamNotReady",
        Outcome.WAITING,
        "The namespace is not set up as a team. An admin does it: kubectl collab teams add NAMESPACE.",
    )
    WAITING_FOR_QUOTA = (
        "WaitingForQuota",
        Outcome.WAITING,
        "The team's GPU quota or the cluster's GPUs are in use; the task starts by itself when others end.",
    )
    NAME_CONFLICT = (
        "NameConflict",
        Outcome.WAITING,
        "A Job of the name that this task needs, or a task of the name that this selection needs, exists already and "
        "is not the operator's. Delete it, or submit under another name.",
    )
    NOT_ALLOWED = (
        "NotAllowed",
        Outcome.WAITING,
        "The cluster refused the task's Job; the message says what it reports. An admin checks the namespace's rules.",
    )
    PODS_PENDING = (
        "PodsPending",
        Outcome.WAITING,
        "The pod could not be placed or started yet; the message says what the cluster reports.",
    )
    IMAGE_PULL_FAILED = (
        "ImagePullFailed",
        Outcome.WAITING,
        "The node cannot get the trainer image; an admin checks the image setting and the node's registry access.",
    )

    SUSPENDED = (
        "Suspended",
        Outcome.WAITING,
        "spec.suspend is true. It goes on from its newest checkpoint: kubectl collab resume TASK.",
    )
    RETRY_BACKOFF = (
        "RetryBackoff",
        Outcome.WAITING,
        "An attempt failed in a way that another may not; the next one starts by itself. status.attempts says more.",
    )

    INTERRUPTED = (
        "Interrupted",
        Outcome.RETRIED,
        "The pod was stopped from outside; the task goes on from its newest checkpoint. This does not count.",
    )
    NODE_LOST = (
        "NodeLost",
        Outcome.RETRIED,
        "The node went away under the pod; the task goes on elsewhere from its newest checkpoint. This does not count.",
    )
    BROKER_UNAVAILABLE = (
        "BrokerUnavailable",
        Outcome.RETRIED,
        "Data or broker were away for ten minutes, or input and output failed; tried again with growing pauses.",
    )
    NO_PROGRESS = (
        "NoProgress",
        Outcome.RETRIED,
        "The trainer stood still for longer than its own measure and was stopped; tried again from its checkpoint.",
    )

    UNKNOWN_METHOD = (
        "UnknownMethod",
        Outcome.TERMINAL,
        "This release has no such task or method; the message lists what there is.",
    )
    INVALID_PARAMETER = (
        "InvalidParameter",
        Outcome.TERMINAL,
        "A parameter is unknown or out of range; the message names it, its value and what is allowed. "
        "Correct the spec and apply again.",
    )
    INVALID_SPEC = (
        "InvalidSpec",
        Outcome.TERMINAL,
        "The spec contradicts itself or its datasets; the message names the field. Correct it and apply again.",
    )
    EXCEEDS_QUOTA = (
        "ExceedsQuota",
        Outcome.TERMINAL,
        "The task asks for more than the team owns and could never start. Ask for less, or an admin raises the quota: "
        "kubectl collab teams add NAMESPACE --gpu-quota N.",
    )
    EXCEEDS_CAPACITY = (
        "ExceedsCapacity",
        Outcome.TERMINAL,
        "No node of this cluster is large enough for the task. Ask for less per node.",
    )
    OUT_OF_MEMORY = (
        "OutOfMemory",
        Outcome.TERMINAL,
        "The trainer needed more memory than its pod may have, with the smallest micro-batch too. Ask for more in "
        "resourcesPerNode.memory.",
    )
    DATA_ERROR = (
        "DataError",
        Outcome.TERMINAL,
        "The trainer could not use the data; the message names file and line. The data's owner corrects and pushes it.",
    )
    USER_ERROR = (
        "UserError",
        Outcome.TERMINAL,
        "The run ended with an error of its own, twice the same way; see kubectl collab logs TASK.",
    )
    GATE_NOT_MET = (
        "GateNotMet",
        Outcome.TERMINAL,
        "Trained, but below the floor that spec.gates asks for; the result is kept.",
    )
    BUDGET_SPENT = "BudgetSpent", Outcome.TERMINAL, "The task's own budget was used up; the result so far is kept."
    DIVERGED = "Diverged", Outcome.TERMINAL, "The loss became infinite or not a number; try a lower learningRate."
    ATTEMPTS_EXHAUSTED = (
        "AttemptsExhausted",
        Outcome.TERMINAL,
        "As many attempts failed as spec.maxAttempts allows; status.attempts says how each ended. "
        "Mend the cause and submit the task again.",
    )
    DEADLINE_EXCEEDED = (
        "DeadlineExceeded",
        Outcome.TERMINAL,
        "The attempts ran for spec.activeDeadlineSeconds without reaching the end. Ask for more time or less work.",
    )
    PENDING_DEADLINE_EXCEEDED = (
        "PendingDeadlineExceeded",
        Outcome.TERMINAL,
        "The task could not start within spec.pendingDeadlineSeconds; the message says what it waited for.",
    )
    ACCESS_REVOKED = "AccessRevoked", Outcome.TERMINAL, "The owner took the grant back while the task needed it."
    RESULT_GONE = (
        "ResultGone",
        Outcome.TERMINAL,
        "A stored result that the task compares or starts from was deleted with its task, so no attempt can have it "
        "(again). Submit the task anew with results that are there.",
    )

    METRIC_MISSING = (
        "MetricMissing",
        Outcome.TERMINAL,
        "It ended well but reports no such metric on the validation split. Choose a metric of the task, and data that "
        "have a validation split.",
    )
    METRIC_INVALID = (
        "MetricInvalid",
        Outcome.TERMINAL,
        "It reports a figure that cannot be one: not a number, or outside what the metric can be.",
    )
    BUDGET_EXHAUSTED = (
        "BudgetExhausted",
        Outcome.TERMINAL,
        "What was left of the selection's budget did not cover what this candidate was expected to cost.",
    )
    NO_WINNER = (
        "NoWinner",
        Outcome.TERMINAL,
        "No candidate ended with a figure that can be ranked; status.leaderboard says why for each.",
    )
    COMPARISON_FAILED = (
        "ComparisonFailed",
        Outcome.TERMINAL,
        "The candidates are ranked, but the task that compares them record by record failed; the message names it.",
    )
    PROMOTION_REFUSED = (
        "PromotionRefused",
        Outcome.TERMINAL,
        "There is a winner, but the broker refused to let the alias stand for it; the message says why. Asked again is "
        "when the selection is suspended and resumed; a person can do it: kubectl collab promote SELECTION.",
    )

    COMPLETED = "Completed", Outcome.GOOD, "Done; the result is stored: kubectl collab report TASK."


class Condition(Part):
    """A Kubernetes condition. All known types are present from first sight, as Unknown."""

    type: str = Field(max_length=64, description="What is judged.")
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    reason: str = Field(min_length=1, max_length=64, description="One CamelCase word that says why.")
    message: str = Field(default="", max_length=2048, description="The same for people, with the remedy.")
    last_transition_time: TimeText = Field(description="When the status last changed.")
    observed_generation: int = Field(default=0, ge=0, description="The generation of the spec that was judged.")
