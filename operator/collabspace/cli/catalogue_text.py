"""The trainer's catalogue as the end of `submit --help`. Pure."""

from collabspace.api.catalogue import Catalogue, Method


def catalogue_text(known: Catalogue) -> str:
    """Tasks, their methods and the methods' parameters with defaults and bounds, for people."""
    lines = [""]
    for task in known.tasks:
        lines += [f"{task.name}: {task.description}", f"  metrics: {', '.join(task.metrics)}"]
        for method in task.methods:
            lines += _method_lines(method)
    return "\n".join(lines) + "\n"


def _method_lines(method: Method) -> list[str]:
    lines = [f"  {method.name}: {method.description}"]
    for parameter in method.parameters:
        bounds = "|".join(parameter.choices) or f"{parameter.minimum or ''}..{parameter.maximum or ''}"
        lines.append(f"    {f'{parameter.name}={parameter.default}':<32} {bounds}")
    return lines
