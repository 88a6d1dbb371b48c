"""Parameters of methods: their definitions, shared where methods share them, and their values once checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from collabspace.api.catalogue import Parameter, ParameterType
from collabspace.api.run import Scalar
from collabspace_trainer.errors import ConfigError

AUTOMATIC = "0"
"""Learning rate that lets the method choose by the size and origin of the model."""


def integer(name: str, default: int, minimum: int, maximum: int, description: str) -> Parameter:
    return Parameter(
        name=name,
        type=ParameterType.INTEGER,
        default=default,
        minimum=str(minimum),
        maximum=str(maximum),
        description=description,
    )


def number(name: str, default: str, minimum: str, maximum: str, description: str) -> Parameter:
    return Parameter(
        name=name,
        type=ParameterType.NUMBER,
        default=default,
        minimum=minimum,
        maximum=maximum,
        description=description,
    )


def choice(name: str, choices: Sequence[str], description: str) -> Parameter:
    """A closed list; the first is the default."""
    return Parameter(
        name=name, type=ParameterType.CHOICE, default=choices[0], choices=list(choices), description=description
    )


CLASS_WEIGHTS = choice(
    "classWeights", ["None", "Balanced"], "Balanced weighs each class by the inverse of its share in the training data."
)


def gradient_parameters(
    epochs: int, batch_size: int, learning_rate: Parameter, optimizers: Sequence[str], schedulers: Sequence[str]
) -> list[Parameter]:
    """What every method that trains by gradients understands; the first optimizer and scheduler are the defaults."""
    return [
        integer("epochs", epochs, 1, 1000, "Passes over the training data."),
        integer("batchSize", batch_size, 1, 4096, "Records per optimizer step; execution.microBatchSize may split it."),
        learning_rate,
        choice("optimizer", optimizers, "Rule by which gradients change the weights."),
        choice(
            "scheduler", schedulers, "Course of the learning rate after warm-up: to zero, constant, or half a cosine."
        ),
        number("warmupFraction", "0.1", "0", "1", "Part of all steps in which the learning rate rises from zero."),
        number("weightDecay", "0.01", "0", "1", "Decay of weights per step, biases and normalisation excepted."),
        number("maxGradientNorm", "1", "0", "1000", "Gradients are scaled down to this norm; 0 leaves them alone."),
        number("labelSmoothing", "0", "0", "0.9", "Part of the target probability that is spread over all classes."),
        integer(
            "earlyStoppingPatience",
            0,
            0,
            100,
            "Epochs without a better validation score before training ends; 0: never.",
        ),
        CLASS_WEIGHTS,
    ]


@dataclass(frozen=True)
class Settings:
    """Checked values of all parameters of a method, by name."""

    values: Mapping[str, Scalar]

    def integer(self, name: str) -> int:
        return int(self.values[name])

    def number(self, name: str) -> float:
        return float(self.values[name])

    def choice(self, name: str) -> str:
        return str(self.values[name])


def check(definitions: Sequence[Parameter], given: Mapping[str, Scalar]) -> Settings:
    """Every parameter with its given value or its default. Raises ConfigError naming field, value and remedy."""
    known = {definition.name for definition in definitions}
    unknown = sorted(set(given) - known)
    if unknown:
        raise ConfigError(
            f"training.parameters.{unknown[0][:64]} is unknown to this method; it takes {', '.join(sorted(known))}"
        )
    values = {d.name: _checked(d, given[d.name]) if d.name in given else d.default for d in definitions}
    return Settings(values)


def _checked(definition: Parameter, value: Scalar) -> Scalar:
    field = f"training.parameters.{definition.name}"
    shown = str(value)[:64]
    if definition.type is ParameterType.CHOICE:
        if value not in definition.choices:
            raise ConfigError(f"{field} is {shown!r}; choose one of {', '.join(definition.choices)}")
        return value
    try:
        parsed = Decimal(str(value))
    except InvalidOperation:
        raise ConfigError(f"{field} is {shown!r}; write a number") from None
    whole = definition.type is ParameterType.INTEGER
    if not parsed.is_finite() or (whole and parsed != parsed.to_integral_value()):
        raise ConfigError(f"{field} is {shown!r}; write {'a whole' if whole else 'a finite'} number")
    low, high = Decimal(definition.minimum or "-Infinity"), Decimal(definition.maximum or "Infinity")
    if not low <= parsed <= high:
        raise ConfigError(f"{field} is {shown}; choose {definition.minimum} to {definition.maximum}")
    return int(parsed) if whole else str(value)
