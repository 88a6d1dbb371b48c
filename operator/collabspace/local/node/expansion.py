"""`$(NAME)` in commands, arguments and environment values, with the kubelet's rules."""

from collections.abc import Mapping


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` becomes its value when known, else stays; `$$` is one dollar sign, so `$$(A)` ends as `$(A)`.

    Any other dollar sign stays. Values are not expanded again.
    """
    result: list[str] = []
    position = 0
    while (dollar := text.find("$", position)) >= 0:
        result.append(text[position:dollar])
        following = text[dollar + 1 : dollar + 2]
        end = text.find(")", dollar + 2) if following == "(" else -1
        if following == "$":
            result.append("$")
            position = dollar + 2
        elif end >= 0:
            name = text[dollar + 2 : end]
            result.append(variables.get(name, f"$({name})"))
            position = end + 1
        else:
            result.append("$")
            position = dollar + 1
    result.append(text[position:])
    return "".join(result)
