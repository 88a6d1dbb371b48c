"""What tasks and selections name, as far as it is there: datasets, stored results, aliases."""

from collections.abc import Iterable

from collabspace.api.task import ModelKind
from collabspace.controller.world import World
from collabspace.core.observed import Dataset, Key, Models, Reference, stored_result


def datasets(world: World, named: Iterable[Reference]) -> dict[Key, Dataset]:
    """Those of the named datasets that there are."""
    keys = (each.key for each in named if each.kind is ModelKind.SHARED_DATASET)
    return {key: found for key in keys if (found := world.dataset(key)) is not None}


def models(world: World, named: Iterable[Reference]) -> Models:
    """Those of the named results and aliases that there are, and the results that these aliases stand for."""
    known = list(named)
    aliases = {each.key: world.alias(each.key) for each in known if each.kind is ModelKind.ALIAS}
    behind = [(namespace, alias.task) for (namespace, _), alias in aliases.items() if alias is not None]
    keys = [each.key for each in known if each.kind is ModelKind.COLLAB_TASK] + behind
    tasks = {key: world.tasks.get(key) for key in keys}
    return Models(
        {key: stored_result(packed.unpack()) for key, packed in tasks.items() if packed is not None},
        {key: alias for key, alias in aliases.items() if alias is not None},
    )
