"""The bridge to torch modules: a rule's update under the module's names, training with it, and what is refused."""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from host import HOST
from torch import nn
from torch.nn.functional import cross_entropy

import ffnp
from ffnp.errors import UserError
from ffnp.rules import PEPITA, Backprop, DirectFeedback, FeedbackAlignment, ForwardForward
from ffnp.verify import assign_grads, updates

each_backend = pytest.mark.parametrize("backend", HOST)


def module(*sizes, activation=nn.ReLU, dtype=torch.float64, logits=True, bias=True):
    """Linear layers of these sizes, an activation after each; after the last only if it makes no `logits`."""
    torch.manual_seed(0)
    layers = [part for i, o in zip(sizes, sizes[1:], strict=False) for part in (nn.Linear(i, o, bias), activation())]
    return nn.Sequential(*layers[: -1 if logits else None]).to(dtype)


def batch(inputs=6, classes=3, rows=8, dtype=torch.float64):
    rng = np.random.default_rng(0)
    return torch.tensor(rng.standard_normal((rows, inputs))).to(dtype), torch.tensor(rng.integers(classes, size=rows))


def gradients(module, x, y):
    module.zero_grad()
    cross_entropy(module(x), y).backward()
    return {name: p.grad for name, p in module.named_parameters()}


def assert_close(found, expected, relative=1e-12):
    assert found.keys() == expected.keys()
    for name, a in expected.items():
        torch.testing.assert_close(found[name], a, rtol=0, atol=relative * max(1, a.abs().max().item()))


# ----- what it computes -----


@each_backend
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
@pytest.mark.parametrize("sizes", [(6, 3), (6, 5, 3), (6, 5, 4, 3)])
def test_updates_of_backprop_are_what_backward_gives(sizes, activation, backend):
    net, (x, y) = module(*sizes, activation=activation), batch()
    assert_close(updates(net, "backprop", x, y, backend=backend), gradients(net, x, y))


@each_backend
def test_float32_stays_float32(backend):
    """To 1e-5: five products of at most 8 terms are each off by 2 eps sqrt(8), and sums that cancel get three times that."""
    net, (x, y) = module(6, 5, 3, dtype=torch.float32), batch(dtype=torch.float32)
    found = updates(net, "backprop", x, y, backend=backend)
    assert {a.dtype for a in found.values()} == {torch.float32}
    assert_close(found, gradients(net, x, y), 1e-5)


def test_names_and_shapes_are_the_modules():
    parts = [("first", nn.Linear(6, 5)), ("bend", nn.ReLU()), ("last", nn.Linear(5, 3, bias=False))]
    found = updates(nn.Sequential(OrderedDict(parts)), "pepita", *batch())
    assert {name: tuple(a.shape) for name, a in found.items()} == {
        "first.weight": (5, 6), "first.bias": (5,), "last.weight": (3, 5)}


def test_a_flatten_before_takes_images():
    net, (x, y) = module(6, 5, 3), batch()
    images = nn.Sequential(nn.Flatten(), *net)
    found = updates(images, "backprop", x.reshape(-1, 2, 3), y)
    assert_close(dict(zip(gradients(net, x, y), found.values(), strict=True)), gradients(net, x, y))


def test_feedback_that_is_given_is_used():
    """With its weights as feedback, feedback alignment is backprop; direct feedback follows its formula."""
    net, (x, y) = module(6, 5, 4, 3), batch()
    expected = gradients(net, x, y)
    assert_close(updates(net, "feedback-alignment", x, y, feedback=[net[2].weight.T, net[4].weight.T]), expected)
    B, e = torch.full((5, 3), 0.5, dtype=torch.float64), net(x).softmax(dim=1) - torch.eye(3, dtype=torch.float64)[y]
    found = updates(net, DirectFeedback(), x, y, feedback=[B, torch.zeros(4, 3)])
    torch.testing.assert_close(found["0.weight"], (((e @ B.T) * (net[0](x) > 0)).T @ x / len(x)).detach())
    assert not found["2.weight"].any()


def test_feedback_is_drawn_by_the_seed_alone():
    net, (x, y) = module(6, 5, 3), batch()
    first, again, other = (updates(net, "direct-feedback", x, y, seed, step=step)["0.weight"]
                           for seed, step in ((0, 0), (0, 1), (1, 0)))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_dropout_is_drawn_by_seed_and_step():
    net, (x, y) = module(6, 5, 3), batch()
    first, again, other = (updates(net, "backprop", x, y, step=step, dropout=0.5)["0.weight"] for step in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_settings_choose_the_rule():
    net, (x, y) = module(6, 5, 3), batch()
    assert_close(updates(net, "pepita", x, y, sign=1, error="second"), updates(net, PEPITA(sign=1, error="second"), x, y))
    assert_close(updates(net, PEPITA(sign=1), x, y, error="second"), updates(net, PEPITA(sign=1, error="second"), x, y))


def test_updates_leave_the_module_and_its_grads_alone():
    net, (x, y) = module(6, 5, 3), batch()
    before = {name: p.clone() for name, p in net.named_parameters()}
    updates(net, "pepita", x, y)
    assert all(p.grad is None and torch.equal(p, before[name]) for name, p in net.named_parameters())


def local_loss(net, positive, negative):
    """Of one Linear and a ReLU: the mean of -log p over both passes, theta the number of units."""
    goods = [(net(a / a.square().mean(dim=1, keepdim=True).sqrt()) ** 2).sum(dim=1) - 5 for a in (positive, negative)]
    return -(nn.functional.logsigmoid(goods[0]).mean() + nn.functional.logsigmoid(-goods[1]).mean()) / 2


@pytest.mark.parametrize("label", ["overlay", "append"])
def test_forward_forward_takes_every_linear_for_a_hidden_layer(label):
    """Two classes, so that each has one wrong label."""
    (x, y), one_hot = batch(classes=2), torch.eye(2, dtype=torch.float64)
    net = module(8 if label == "append" else 6, 5, logits=False)
    both = [torch.hstack([one_hot[t], x[:, 2:]] if label == "overlay" else [x, one_hot[t]]) for t in (y, 1 - y)]
    net.zero_grad()
    local_loss(net, *both).backward()
    found = updates(net, "forward-forward", x, y, classes=2 if label == "overlay" else None, label=label)
    assert_close(found, {name: p.grad for name, p in net.named_parameters()}, 1e-6)  # tiny = 1e-8 in the norm


@dataclass(frozen=True)
class LastLayer(Backprop):
    """Only the last layer is sent anything."""

    def signals(self, k, net, x, y, rng, moment=None):
        for s in super().signals(k, net, x, y, rng):
            yield s._replace(layers={1: s.layers[1]})


def test_a_layer_without_a_signal_gets_zeros():
    found = updates(module(6, 5, 3), LastLayer(), *batch())
    assert found["2.weight"].any() and not found["0.weight"].any() and not found["0.bias"].any()


# ----- training -----


@pytest.mark.parametrize(("rule", "rate"), [("direct-feedback", 0.1), (PEPITA(), 0.1)])
def test_a_torch_optimiser_trains_with_our_rules(rule, rate):
    """Ten epochs on digits: 90 % of the test images, where one in ten is chance."""
    data, net = ffnp.load("digits"), module(64, 128, 10, dtype=torch.float32, bias=False)
    for p in net.parameters():
        nn.init.kaiming_uniform_(p, nonlinearity="relu")
    optimiser = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9)
    x, y = torch.from_numpy(data.x_train), torch.from_numpy(data.y_train)
    for step, rows in enumerate(order for _ in range(10) for order in torch.randperm(len(x)).split(64)):
        assign_grads(net, rule, x[rows], y[rows], step=step, backend="cpu")
        optimiser.step()
    with torch.no_grad():
        right = net(torch.from_numpy(data.x_test)).argmax(dim=1) == torch.from_numpy(data.y_test)
    assert right.float().mean() > 0.9


def test_assign_grads_puts_the_updates_into_grad():
    net, (x, y) = module(6, 5, 3), batch()
    assign_grads(net, "pepita", x, y, seed=3, sign=1)
    assert_close({name: p.grad for name, p in net.named_parameters()}, updates(net, "pepita", x, y, 3, sign=1))


# ----- what cannot be -----

L = nn.Linear
MODULES = {
    "must be an nn.Sequential .* not a Linear": L(6, 3),
    "layer 2 \\(Conv2d\\) cannot be expressed": nn.Sequential(L(6, 5), nn.Conv2d(1, 1, 1)),
    "layer 2 \\(GELU\\) cannot be expressed": nn.Sequential(L(6, 5), nn.GELU(), L(5, 3)),
    "layer 2 \\(Softmax\\) cannot be expressed: rules take logits": nn.Sequential(L(6, 3), nn.Softmax(dim=1)),
    "layer 4 \\(LogSoftmax\\) .* leave it out": nn.Sequential(L(6, 5), nn.ReLU(), L(5, 3), nn.LogSoftmax(dim=1)),
    "layer 3 \\(Dropout\\) .* give the rule a dropout": nn.Sequential(L(6, 5), nn.ReLU(), nn.Dropout(), L(5, 3)),
    "layer 1 \\(ReLU\\) cannot be expressed": nn.Sequential(nn.ReLU(), L(6, 3)),
    "layer 3 \\(ReLU\\) cannot be expressed": nn.Sequential(L(6, 5), nn.ReLU(), nn.ReLU(), L(5, 3)),
    "layer 2 \\(Flatten\\) cannot be expressed": nn.Sequential(L(6, 5), nn.Flatten(), L(5, 3)),
    "layer 1 \\(Sequential\\) cannot be expressed": nn.Sequential(nn.Sequential(L(6, 3))),
    "layer 2 \\(Linear\\) must be another one, with an activation": nn.Sequential(L(6, 5), L(5, 3)),
    "layer 3 \\(Linear\\) must be another one": nn.Sequential(square := L(6, 6), nn.ReLU(), square, nn.ReLU(), L(6, 3)),
    "needs Linear layers with one activation, not 0 layers": nn.Sequential(nn.Flatten()),
    "not 3 layers with relu, tanh": nn.Sequential(L(6, 5), nn.ReLU(), L(5, 4), nn.Tanh(), L(4, 3)),
    "needs an activation after each Linear but the last, .*: 1, not 2": nn.Sequential(L(6, 5), nn.ReLU(), L(5, 3), nn.ReLU()),
    "a Linear of 4 inputs cannot follow one of 5 outputs": nn.Sequential(L(6, 5), nn.ReLU(), L(4, 3)),
    "must be in float32 or in float64, not in torch.bfloat16": nn.Sequential(L(6, 3)).to(torch.bfloat16),
}


@pytest.mark.parametrize(("said", "module"), MODULES.items(), ids=range(len(MODULES)))
def test_a_module_that_cannot_be_expressed_is_refused_by_name(said, module):
    with pytest.raises(UserError, match=said):
        updates(module, "backprop", *batch())


RULES_REFUSED = {
    "there is no rule 'zebra'; choose one of backprop": ("zebra", {}),
    "no setting 'zebra'; it has activation, dropout": ("backprop", {"zebra": 1}),
    "sign must be one of -1, 1, not 2": ("pepita", {"sign": 2}),
    "activation is tanh, not relu": ("backprop", {"activation": "tanh"}),
    "moves the weights more than once": (PEPITA(update="time-local"), {}),
    "matrices or running means of this rule change": (FeedbackAlignment(matrices="kolen-pollack"), {}),
    "running means of this rule change": (FeedbackAlignment(matrices="mirror"), {}),
    "feedback matrices of shapes \\[\\(5, 3\\)\\], not \\[\\(3, 5\\)\\]": ("direct-feedback", {"feedback": [torch.ones(3, 5)]}),
    "needs an activation after each Linear: 2, not 1": ("forward-forward", {"classes": 3}),
    "a rule made before, .*, not <class .*PEPITA'>": (PEPITA, {}),
    "a rule made before, .*, not None": (None, {}),
    "at least 0, not -1 and 0": ("backprop", {"seed": -1}),
    "at least 0, not 0 and -2": ("backprop", {"step": -2}),
}


@pytest.mark.parametrize(("said", "asked"), RULES_REFUSED.items(), ids=range(len(RULES_REFUSED)))
def test_a_rule_that_does_not_go_with_modules_is_refused(said, asked):
    rule, options = asked
    with pytest.raises(UserError, match=said):
        updates(module(6, 5, 3), rule, *batch(), **options)


HIDDEN_REFUSED = {
    "needs to be told of 2 classes or more, not None": ("forward-forward", {}),
    "hard negatives are drawn from a head": (ForwardForward(), {"classes": 3}),
    "running means": (ForwardForward(negatives="uniform", peer=0.1), {"classes": 3}),
    "the feedback matrices": ("mono-forward", {"classes": 3}),
    "schedule layerwise": (ForwardForward(negatives="uniform", schedule="layerwise"), {"classes": 3}),
}


@pytest.mark.parametrize(("said", "asked"), HIDDEN_REFUSED.items(), ids=HIDDEN_REFUSED)
def test_forward_rules_that_do_not_go_with_modules_are_refused(said, asked):
    rule, options = asked
    with pytest.raises(UserError, match=said):
        updates(module(6, 5, 4, logits=False), rule, *batch(), **options)


x, y = batch()
BATCHES = {
    "rows of 6 inputs with labels 0 to 2, not 5 inputs": (x[:, 1:], y),
    "not 6 inputs with labels 3 to 3": (x, y * 0 + 3),
    "labels -1 to -1": (x, y * 0 - 1),
    "labels must be integers, not torch.float64": (x, y.double()),
    "labels must be integers, not torch.bool": (x, y > 0),
    "not of shapes \\(8, 6\\) and \\(7,\\)": (x, y[1:]),
    "not of shapes \\(8, 2, 3\\) and \\(8,\\)": (x.reshape(8, 2, 3), y),
    "not of shapes \\(0, 6\\) and \\(0,\\)": (x[:0], y[:0]),
    "must be torch tensors, not ndarray and Tensor": (x.numpy(), y),
    "must be torch tensors, not Tensor and list": (x, y.tolist()),
}


@pytest.mark.parametrize(("said", "rows"), BATCHES.items(), ids=BATCHES)
def test_a_batch_that_does_not_fit_is_refused(said, rows):
    with pytest.raises(UserError, match=said):
        updates(module(6, 5, 3), "backprop", *rows)
