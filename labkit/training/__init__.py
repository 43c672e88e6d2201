"""One training loop and one evaluation for the whole book, and the optimisation behind them."""

from labkit.training.flow import Quadratic, energy_decay, euler, euler_step, gradient_flow
from labkit.training.loop import Evaluation, History, Loss, Objective, cross_entropy, evaluate, fit
from labkit.training.posterior import map_objective, ridge

__all__ = [
    "Evaluation",
    "History",
    "Loss",
    "Objective",
    "Quadratic",
    "cross_entropy",
    "energy_decay",
    "euler",
    "euler_step",
    "evaluate",
    "fit",
    "gradient_flow",
    "map_objective",
    "ridge",
]
