"""All cases written by hand."""

from bad_datasets import DATASETS
from bad_input import WAYS, Case
from bad_selections import SELECTIONS
from bad_states import STATES
from bad_surroundings import SURROUNDINGS
from bad_tasks import TASKS
from transitions import TRANSITIONS, Transition

CASES: tuple[Case | Transition, ...] = (*TASKS, *DATASETS, *SELECTIONS, *STATES, *SURROUNDINGS, *TRANSITIONS)
BY_ID = {case.id: case for case in CASES}


def in_ways(ways: tuple[str, ...] = WAYS) -> list[tuple[Case | Transition, str]]:
    """Each case each way, one way after the other."""
    return [(case, way) for way in ways for case in CASES]
