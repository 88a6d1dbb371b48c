"""What the broker tells of tasks before the API server has: its feed tells each thing once, and a watch may lag."""

from collections import OrderedDict

from collabspace.core.observed import AttemptRecord

# Of tasks that are gone it tells too; those crowd out nothing newer.
REMEMBERED_TASKS = 5_000


class EarlyNews:
    """Attempts of tasks that are not known yet, of the latest REMEMBERED_TASKS only."""

    def __init__(self) -> None:
        self._records: OrderedDict[str, dict[int, AttemptRecord]] = OrderedDict()

    def keep(self, task_uid: str, attempt: int, record: AttemptRecord) -> None:
        self._records.setdefault(task_uid, {})[attempt] = record
        self._records.move_to_end(task_uid)
        if len(self._records) > REMEMBERED_TASKS:
            self._records.popitem(last=False)

    def take(self, task_uid: str) -> dict[int, AttemptRecord]:
        """What was told of the task, by attempt; it is known from now on."""
        return self._records.pop(task_uid, {})
