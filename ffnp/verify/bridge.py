"""From the user's own torch module to a rule's update and back: compare an implementation with ours, or train with our rules.

    found = updates(module, "direct-feedback", x, y)         # parameter name -> tensor shaped like the parameter
    assign_grads(module, "pepita", x, y, step=step)          # the same in .grad: then optimiser.step()

Both compute what goes *down*: a torch optimiser subtracts it.
"""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..backend import load_backend
from ..errors import UserError
from ..net import Dense, Net
from ..optim import Signals
from ..rules import RULES, ForwardForward, Rule
from ..rules.classifier import Classifier
from ..run import each_array

ACTIVATIONS: dict[type, str] = {nn.ReLU: "relu", nn.Tanh: "tanh"}
DTYPES = {torch.float32: "float32", torch.float64: "float64"}


ADVICE: dict[type, str] = {
    nn.Softmax: "rules take logits, so leave it out",
    nn.LogSoftmax: "rules take logits, so leave it out",
    nn.Dropout: "give the rule a dropout instead",
}
GENERAL = "only Linear layers, ReLU or Tanh after them, and one Flatten before"
HEADLESS = {"negatives": "uniform", "softmax_from": None, "goodness_from": 1}  # Forward-Forward by name: a module has no head


class Stack(NamedTuple):
    """A module read as a stack of layers: their names in it, themselves, and the activations after them, if any."""

    names: list[str]
    layers: list[nn.Linear]
    activations: list[str]


def updates(
    module: nn.Sequential, rule: Rule | str, x: Tensor, y: Tensor, seed: int = 0, backend: str = "numpy", *,
    step: int = 0, classes: int | None = None, feedback: Sequence[Tensor] | None = None, **settings: Any,
) -> dict[str, Tensor]:
    """What a rule would do to a module on one batch: gradients, or what stands in their place, by parameter name.

    `module`: nn.Linear layers (maybe after a Flatten) with one kind of activation, nn.ReLU or nn.Tanh, in float32 or
    float64. For rules that end in a softmax the last Linear makes the logits, and nothing follows it. For Forward-Forward
    all Linears are hidden layers with a ReLU; the first takes the inputs, a label over the first of them (say how many
    `classes`), or with `label="append"` inputs and classes.
    `rule`: a name of RULES, with `settings` as its fields, or a rule made before. The activation is the module's.
    `x (B, I)` or, after a Flatten, (B, ...); `y (B,)` integer labels.
    `feedback`: the rule's matrices, (I, O) each, as its `init` makes them; without it they are drawn by `seed`, the same ones
    in every step. What else is drawn, dropout masks say, comes from `seed` and `step`, so count the steps when training.
    Parameters without a signal get zeros. Raises UserError for what cannot be expressed.

    >>> net = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    >>> x, y = torch.rand(5, 6).double(), torch.tensor([0, 1, 2, 0, 1])
    >>> nn.functional.cross_entropy(net(x), y).backward()
    >>> found = updates(net, "backprop", x, y)
    >>> [name for name, p in net.named_parameters() if torch.allclose(found[name], p.grad)]
    ['0.weight', '0.bias', '2.weight', '2.bias']
    """
    if min(seed, step) < 0:
        raise UserError(f"seed and step must be at least 0, not {seed} and {step}")
    stack = read(module)
    rule = chosen(rule, stack, settings)
    rows, labels = batch(module, stack, x, y)
    k, net = load_backend(backend, rows.dtype.name), network(rule, stack, rows, labels, classes, seed, feedback)
    net = each_array(net, lambda name, a: k.put(a))
    s = only(rule, [*rule.signals(k, net, k.put(rows), k.put(labels), np.random.default_rng([seed, 1, step]))])
    found = {name: torch.zeros_like(p) for name, p in module.named_parameters()}
    for l, pairs in s.layers.items():
        for name, a in zip(("weight", "bias"), k.gradient(net.layers[l], pairs, s.rows), strict=True):
            if a is not None:
                found[f"{stack.names[l]}.{name}"].copy_(torch.from_numpy(k.get(a).T))
    return found


def assign_grads(module: nn.Sequential, rule: Rule | str, x: Tensor, y: Tensor, **options: Any) -> None:
    """Puts `updates` into the `.grad` of the module's parameters; `options` are its own.

    >>> net = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    >>> assign_grads(net, "direct-feedback", torch.rand(5, 6), torch.tensor([0, 1, 2, 0, 1]))
    >>> [tuple(p.grad.shape) for p in net.parameters()]  # now a torch optimiser can step
    [(4, 6), (4,), (3, 4), (3,)]
    """
    found = updates(module, rule, x, y, **options)
    for name, parameter in module.named_parameters():
        parameter.grad = found[name]


# ----- the module -----


def read(module: nn.Sequential) -> Stack:
    """The layers of a module. Raises UserError that names the first one that no rule here knows."""
    if type(module) is not nn.Sequential:
        raise UserError(f"the module must be an nn.Sequential of Linear and ReLU or Tanh layers, not a {type(module).__name__}")
    names, found = {id(child): name for name, child in module.named_children()}, Stack([], [], [])
    for n, layer in enumerate(module, 1):
        kind, after_linear = type(layer), len(found.activations) < len(found.layers)
        if isinstance(layer, nn.Linear):
            if after_linear or any(layer is other for other in found.layers):
                raise UserError(f"layer {n} (Linear) must be another one, with an activation between it and the Linear before")
            found.names.append(names[id(layer)])
            found.layers.append(layer)
        elif kind in ACTIVATIONS and after_linear:
            found.activations.append(ACTIVATIONS[kind])
        elif kind is not nn.Flatten or n > 1:
            raise UserError(f"layer {n} ({kind.__name__}) cannot be expressed: {ADVICE.get(kind, GENERAL)}")
    if not found.layers or len(set(found.activations)) > 1:
        raise UserError(f"the module needs Linear layers with one activation, not {len(found.layers)} layers with "
                        f"{', '.join(found.activations) or 'none'}")
    return found


def batch(module: nn.Sequential, stack: Stack, x: Tensor, y: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The rows x (B, I) in the module's dtype and the labels y (B,), on the host. Raises UserError where they cannot be."""
    if not isinstance(x, Tensor) or not isinstance(y, Tensor):
        raise UserError(f"x and y must be torch tensors, not {type(x).__name__} and {type(y).__name__}")
    dtypes = {p.dtype for p in module.parameters()}
    if len(dtypes) > 1 or not dtypes <= DTYPES.keys():
        raise UserError(f"the module must be in float32 or in float64, not in {', '.join(sorted(map(str, dtypes)))}")
    rows = (x.flatten(1) if isinstance(module[0], nn.Flatten) else x).detach().to("cpu", dtypes.pop())
    if rows.ndim != 2 or y.shape != rows.shape[:1] or not len(y):
        raise UserError(f"x must be rows (B, I) and y their labels (B,), not of shapes {tuple(x.shape)} and {tuple(y.shape)}")
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise UserError(f"labels must be integers, not {y.dtype}")
    return rows.contiguous().numpy(), y.detach().cpu().numpy()


# ----- the rule -----


def chosen(rule: Rule | str, stack: Stack, settings: dict[str, Any]) -> Rule:
    """The rule with these settings and the module's activation. Raises UserError where they do not go with the module."""
    if isinstance(rule, str):
        if rule not in RULES:
            raise UserError(f"there is no rule {rule!r}; choose one of {', '.join(RULES)}")
        rule = RULES[rule](**HEADLESS) if RULES[rule] is ForwardForward else RULES[rule]()
    if isinstance(rule, type) or not is_dataclass(rule):
        raise UserError(f"the rule must be a name or a rule made before, such as ffnp.rules.Backprop(), not {rule!r}")
    known = [field.name for field in fields(rule)]
    for name in settings:
        if name not in known:
            raise UserError(f"the rule has no setting {name!r}; it has {', '.join(known)}")
    if "activation" in known and stack.activations:
        settings = {"activation": stack.activations[0], **settings}
    rule = replace(rule, **settings)
    hidden = len(stack.layers) - isinstance(rule, Classifier)
    if len(stack.activations) != hidden:
        where = "each Linear but the last, which makes the logits" if isinstance(rule, Classifier) else "each Linear"
        raise UserError(f"this rule needs an activation after {where}: {hidden}, not {len(stack.activations)}")
    if getattr(rule, "activation", "relu") != (stack.activations or ["relu"])[0] and hidden:
        raise UserError(f"this rule's activation is {getattr(rule, 'activation', 'relu')}, not {stack.activations[0]}")
    return rule


def network(
    rule: Rule, stack: Stack, x: np.ndarray, y: np.ndarray, classes: int | None, seed: int, feedback: Sequence[Tensor] | None
) -> Net:
    """The module's weights as a network of the rule, its feedback drawn or given. Raises UserError where they do not fit."""
    widths = [stack.layers[0].in_features, *(layer.out_features for layer in stack.layers)]
    appended = getattr(rule, "label", "") == "append"
    if isinstance(rule, Classifier):
        sizes = widths
    else:
        classes = widths[0] - x.shape[1] if appended else classes
        if classes is None or classes < 2:
            raise UserError(f"this rule needs to be told of 2 classes or more, not {classes}")
        sizes = [x.shape[1] if appended else widths[0], *widths[1:], classes]
    if x.shape[1] != sizes[0] or not 0 <= y.min() <= y.max() < sizes[-1]:
        raise UserError(f"the module takes rows of {sizes[0]} inputs with labels 0 to {sizes[-1] - 1}, "
                        f"not {x.shape[1]} inputs with labels {y.min()} to {y.max()}")
    for own, layer in zip(widths[1:], stack.layers[1:], strict=False):
        if layer.in_features != own:
            raise UserError(f"a Linear of {layer.in_features} inputs cannot follow one of {own} outputs")
    net = rule.init(np.random.default_rng([seed, 0]), sizes, "he_uniform", None, str(x.dtype))
    if feedback is not None:
        wanted, given = [B.W.shape for B in net.feedback], [tuple(B.shape) for B in feedback]
        if wanted != given:
            raise UserError(f"this rule needs feedback matrices of shapes {wanted}, not {given}")
        net = net._replace(feedback=tuple(Dense(host(B).astype(x.dtype), None) for B in feedback))
    return net._replace(layers=tuple(Dense(host(layer.weight.T), None if layer.bias is None else host(layer.bias))
                                     for layer in stack.layers))


def host(a: Tensor) -> np.ndarray:
    return np.array(a.detach().cpu().numpy(), order="C")


def only(rule: Rule, answers: Sequence[Signals]) -> Signals:
    """The one answer. Raises UserError for a rule that needs more than the module's own parameters."""
    if any(s.feedback or any(s.replaced.values()) for s in answers):
        raise UserError("the feedback matrices or running means of this rule change, and a module has no place for them")
    if len(answers) != 1:
        raise UserError("this rule moves the weights more than once in a batch, so it has no single update")
    if getattr(rule, "negatives", "") == "hard":
        raise UserError("hard negatives are drawn from a head, and a module has none: choose negatives uniform or permuted")
    if getattr(rule, "schedule", "") == "layerwise":
        raise UserError("schedule layerwise trains one layer after the other, so it has no single update: choose joint")
    return answers[0]
