"""A network made from its class and checked: what a user's class may have forgotten is named in one line."""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, get_args

import torch
from torch import nn

from node_agent.models.data_types import Input
from node_agent.models.networks.early_exit import Backbone, EarlyExitModel, Recipe
from node_agent.models.networks.user_code import UserClass

_STORED = {
    f"torch.{name}" for name in ("float32", "float16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
}


def running(code: UserClass | None, what: str) -> AbstractContextManager[None]:
    """Return a context that names the user's file, if there is one, in errors of its code."""
    return nullcontext() if code is None else code.running(what)


def make_network(kind: type[EarlyExitModel], card: Mapping[str, Any], code: UserClass | None = None) -> EarlyExitModel:
    """Return a network with the dimensions in a card, and random weights; torch's random state stays.

    Raises:
        ValueError: the card describes no possible network, or the class breaks the contract.
        InputError: the user's code raises.
    """
    if fault := class_fault(kind):
        raise ValueError(f"class {kind.__name__}: {fault}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(kind, card, code)


def build(kind: type[EarlyExitModel], card: Mapping[str, Any], code: UserClass | None = None) -> EarlyExitModel:
    """Return a network as `make_network` does, with torch's present random state."""
    with running(code, f"{kind.__name__}()"):
        network = kind.from_card(card)
    if fault := _network_fault(network):
        raise ValueError(f"class {kind.__name__}: {fault}")
    network.add_temperatures()
    return network


def class_fault(kind: type[EarlyExitModel]) -> str:
    """Return the fault of a class's attributes, in words; empty if there is none."""
    if not isinstance(getattr(kind, "input", None), Input):
        return "`input` must be an Input, as in input = Input(shape=(1, 28, 28))"
    if not 1 <= len(kind.input.shape) <= 7 or not all(isinstance(n, int) and n >= 1 for n in kind.input.shape):
        return f"input: {kind.input.shape} is no shape"
    classes: Any = getattr(kind, "classes", None)
    listed = isinstance(classes, (list, tuple)) and all(isinstance(name, str) for name in classes)
    if not ((isinstance(classes, int) and classes >= 2) or (listed and len(classes) >= 2)):
        return "`classes` must be the names of at least two classes, or their number"
    return ""


def class_names(kind: type[EarlyExitModel]) -> list[str]:
    """Return the names of the classes; their numbers if the class states a number."""
    return [str(number) for number in range(kind.classes)] if isinstance(kind.classes, int) else list(kind.classes)


def recipe_fault(recipe: Recipe) -> str:
    """Return the first fault of a recipe's values, in words; empty if there is none.

    The number of exit weights is compared with the exits when there is a network.
    """
    for name, (allows, words) in _ALLOWED.items():
        value = getattr(recipe, name)
        if not allows(value):
            return f"recipe.{name} is {' '.join(repr(value).split())}, but must be {words}"
    return ""


def _whole(value: object, least: int) -> bool:
    return type(value) is int and value >= least  # a bool is an int, and numpy's integers fit no card


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf


def _weights(value: object) -> bool:
    return isinstance(value, (tuple, list)) and all(map(_number, value)) and (not value or any(value))


_BACKBONES = get_args(Backbone)
_ALLOWED: Mapping[str, tuple[Callable[[Any], bool], str]] = {  # by field of a `Recipe`
    "seed": (lambda value: _whole(value, 0), "a whole number of at least 0"),
    "epochs": (lambda value: _whole(value, 0), "a whole number of at least 0"),
    "batch": (lambda value: _whole(value, 1), "a whole number of at least 1"),
    "peak_learning_rate": (lambda value: _number(value) and value > 0, "a number above 0"),
    "weight_decay": (_number, "a number of at least 0"),
    "exit_weights": (_weights, "numbers of at least 0, one for each exit, and one of them above 0"),
    "threads": (lambda value: _whole(value, 1), "a whole number of at least 1"),
    "backbone": (lambda value: isinstance(value, str) and value in _BACKBONES, " or ".join(map(repr, _BACKBONES))),
    "patience": (lambda value: value is None or _whole(value, 1), "None or a whole number of at least 1"),
    "channels_last": (lambda value: isinstance(value, bool), "True or False"),
    "held_out": (lambda value: _whole(value, 1), "a whole number of at least 1"),
    "evaluation": (lambda value: _whole(value, 1), "a whole number of at least 1"),
}


def _network_fault(network: EarlyExitModel) -> str:
    blocks, heads = getattr(network, "blocks", None), getattr(network, "heads", None)
    if not isinstance(blocks, nn.ModuleList) or not len(blocks):
        return "self.blocks must be an nn.ModuleList with a block or more"
    if not isinstance(heads, nn.ModuleDict) or any(not name.isdecimal() or name != str(int(name)) for name in heads):
        return "self.heads must be an nn.ModuleDict with the numbers of blocks as names"
    if strange := {str(tensor.dtype) for tensor in network.state_dict().values()} - _STORED:
        return f"weights of {strange.pop()}: use float32, which every processor computes with"
    exits = network.exits
    if beyond := [block for block in exits if not 1 <= block <= len(blocks)]:
        return f"self.heads has a head after block {beyond[0]}, but there are only blocks 1 to {len(blocks)}"
    if not exits or exits[-1] != len(blocks):
        return f"self.heads has heads after blocks {list(exits)}, but the last of {len(blocks)} blocks needs one"
    return ""
