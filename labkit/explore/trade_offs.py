"""The networks of the lectures' tables that have all three: accuracy on ImageNet, multiply-adds, parameters."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from labkit.lectures import table

MILLION = 1e6
DOUBLED = ("SqueezeNet",)  # its 1,700 million are FLOPs, two to a multiply-add: erratum E35
FAMILIES = {
    "large, by hand": ("AlexNet", "GoogleNet", "ResNet", "VGG"),
    "small, by search": ("NasNet", "Mnasnet", "V3"),
}


@dataclass(frozen=True)
class ImageNetModel:
    """One network as a lecture's table has it: top-1 accuracy in percent, millions of multiply-adds and parameters.

    `lines` says where the table stands.
    """

    name: str
    family: str
    accuracy: float
    macs: float
    params: float
    lines: str

    @property
    def ball(self) -> tuple[float, float, float]:
        """Multiply-adds, accuracy and parameters, as `labkit.explore.figures.ball_chart` takes them."""
        return self.macs, self.accuracy, self.params


def imagenet_models() -> list[ImageNetModel]:
    """Return the networks of the lectures that can be compared, each once.

    SqueezeNet's printed 1,700 million are counted as half that (erratum E35), and so are the 8 billion of ResNet-50,
    for lecture 003:318-381 counts two operations to a multiply-add. Chapter 4; lecture 002:37-42, 003:24-28.

    >>> models = {model.name: model for model in imagenet_models()}
    >>> models["VGG 16"].ball, models["SqueezeNet"].macs
    ((15300.0, 71.5, 138.0), 850.0)
    """
    models = [
        *_mobilenet("mobilenet_v1_table8_popular"),
        *_mobilenet("mobilenet_v1_table9_small"),
        *_mobilenet("mobilenet_v1_table6_width", skip=("1.0 MobileNet-224",)),
        *_later("mobilenet_v2_comparison", 1 / MILLION, skip=("MobileNetV1",)),
        *_later("mobilenet_v3_float", 1.0, skip=("V2 1.0", "Proxyless[5]")),
        _resnet(),
    ]
    return sorted(models, key=lambda model: (model.family, model.macs))


def _mobilenet(slug: str, skip: tuple[str, ...] = ()) -> Iterator[ImageNetModel]:
    for row in table(slug).rows:
        name = row.get("model") or row["width_multiplier"]
        macs = row["mult_adds_million"] / (2 if name in DOUBLED else 1)
        if name not in skip:
            yield _model(slug, name, row["imagenet_accuracy"], macs, row["params_million"])


def _later(slug: str, unit: float, skip: tuple[str, ...]) -> Iterator[ImageNetModel]:
    """Yield the rows of a table that gives parameters one by one, and multiply-adds in multiples of `unit`."""
    for row in table(slug).rows:
        if row["network"] not in skip:
            yield _model(slug, row["network"], row["top1"], row["madds"] * unit, row["params"] / MILLION)


def _resnet() -> ImageNetModel:
    error = _row("pruning_results", "network", "ResNet-50")["top1_error"]
    total = _row("resnet50_pruning", "layer", "total")
    return _model("resnet50_pruning", "ResNet-50", 100 - error, total["flop"] / 2 / MILLION, total["weights"] / MILLION)


def _row(slug: str, column: str, value: str) -> dict[str, Any]:
    return next(row for row in table(slug).rows if row[column] == value)


def _model(slug: str, name: str, accuracy: float, macs: float, params: float) -> ImageNetModel:
    family = next((family for family, names in FAMILIES.items() if name.startswith(names)), "small, by hand")
    return ImageNetModel(name.split(" [")[0], family, accuracy, round(macs, 1), params, table(slug).source)
