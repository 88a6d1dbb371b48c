"""The trainer's catalogue for people at a shell. Pure."""

from collabspace.api.catalogue import Catalogue, Method


def methods_of_tasks(known: Catalogue) -> list[tuple[str, str]]:
    """(task, the names of its methods), for the help of `submit`."""
    return [(task.name, ", ".join(method.name for method in task.methods)) for task in known.tasks]


def catalogue_text(known: Catalogue, task: str | None = None, method: str | None = None) -> str:
    """Tasks, their methods and the methods' parameters with defaults and bounds; of one task or method, if given."""
    lines = []
    for each in known.tasks:
        methods = [found for found in each.methods if method in (None, found.name)]
        if task not in (None, each.name) or not methods:
            continue
        lines += [f"{each.name}: {each.description}", f"  metrics: {', '.join(each.metrics)}"]
        for found in methods:
            lines += _method_lines(found)
    return "\n".join(lines)


def _method_lines(method: Method) -> list[str]:
    lines = [f"  {method.name}: {method.description}"]
    for parameter in method.parameters:
        bounds = "|".join(parameter.choices) or f"{parameter.minimum or ''}..{parameter.maximum or ''}"
        lines.append(f"    {f'{parameter.name}={parameter.default}':<32} {bounds}")
    return lines
