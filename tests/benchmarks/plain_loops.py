"""The experiments as the papers' scripts go about them: one setting after another, everything computed anew.

Written again from their description, formulas included; nothing of it uses the library. `bench_experiments.py` checks
that it gives the numbers of the library's experiments before it races against them.
"""

from collections import defaultdict
from itertools import product

import torch
from torch.nn import functional
from torchvision.transforms.functional import gaussian_blur

# --- scores ----------------------------------------------------------------------------------------------------------


def target_of(y, t):
    return y[torch.arange(len(y)), t]


def others_of(y, t):
    rows = torch.ones_like(y, dtype=torch.bool)
    rows[torch.arange(len(y)), t] = False
    return y[rows].view(len(y), -1)


def tempered(temperature):
    return lambda y, t: target_of(y, t) - temperature * (others_of(y, t) / temperature).logsumexp(1)


def finer(y, t, gamma=0.6, n=3):
    wanted, others = target_of(y, t), others_of(y, t)
    nearest = (others - wanted[:, None]).detach().abs().argsort(1)[:, :n]
    return wanted - gamma * others.gather(1, nearest).mean(1)


SCORES = {
    "original": target_of,
    "mean": lambda y, t: target_of(y, t) - others_of(y, t).mean(1),
    "tempered 2": tempered(2),
    "weighted": tempered(1),
    "probability": lambda y, t: target_of(y.softmax(1), t),
    "tempered 0.5": tempered(0.5),
    "max": lambda y, t: target_of(y, t) - others_of(y, t).max(1).values,
    "finer": finer,
}


# --- pushing images along the sign of a gradient ---------------------------------------------------------------------


def gradient_sign(network, images, labels, contrasts, epsilons, steps):
    """Accuracy, p_t and y_t (n, 3) by contrast, strength and number of steps; for each of them a forward pass before,
    `steps` passes forward and back through network and parameters, and a forward pass after."""
    found = {}
    for contrast, epsilon, n in product(contrasts, epsilons, steps):
        with torch.no_grad():
            found["before", "", ""] = outcome(network(images), labels)
        moved = images
        for _ in range(n):
            network.zero_grad()
            moved = moved.detach().requires_grad_()
            SCORES[contrast](network(moved), labels).sum().backward()
            with torch.no_grad():
                moved = moved + epsilon / n * moved.grad.sign()
                moved = moved.clamp((images - epsilon).clamp(min=0), (images + epsilon).clamp(max=1))
        with torch.no_grad():
            found[contrast, str(epsilon), str(n)] = outcome(network(moved), labels)
    network.zero_grad()
    return found


def outcome(y, t):
    return torch.stack([(y.argmax(1) == t).float(), target_of(y.softmax(1), t), target_of(y, t)], 1)


# --- keeping the pixels of one sign ----------------------------------------------------------------------------------

RULES = {
    "linear_approximation": lambda a, g: (a * g).sum(1, keepdim=True),
    "grad_cam": lambda a, g: (g.mean((2, 3), keepdim=True) * a).sum(1, keepdim=True),
    "xgrad_cam": lambda a, g: (((a * g).sum((2, 3), keepdim=True) / a.abs().sum((2, 3), keepdim=True)).nan_to_num(0)
                               * a).sum(1, keepdim=True),
}
BASELINES = {
    "blur": lambda image, network: blurred(image),  # noqa: ARG005 - all baselines take both
    "mean colour": lambda image, network: network.mean.expand_as(image),
    "black": lambda image, network: torch.zeros_like(image),  # noqa: ARG005
    "channel mean": lambda image, network: image.mean((2, 3), keepdim=True).expand_as(image),  # noqa: ARG005
}


def masking(network, images, layer, targets, methods=tuple(RULES), baselines=tuple(BASELINES)):
    """Relative probability and share of pixels kept (n, 2) by setting; one image and one setting at a time.

    A setting is a method, a target, a budget, a sign and a baseline. Each makes its two maps, its masks and what takes
    the pixels' place anew, and runs each masked picture by itself.
    """
    found = defaultdict(list)
    for image in images.split(1):
        with torch.no_grad():
            y = network(image)
        top = y.topk(2).indices[0]
        for method, target in product(methods, targets):
            pair = top if target == "t1" else top.flip(0)
            found[layer, method, target, "none", "", "", ""].append([relative(y, pair), 1.0])
            for budget, sign, baseline in product(("published", "swapped", "caption"), ("positive", "negative"),
                                                  baselines):
                kept = one_setting(network, image, pair, layer, method, budget, sign, baseline)
                for contrast, values in kept.items():
                    found[layer, method, target, budget, baseline, sign, contrast].append(values)
    return {name: torch.tensor(values) for name, values in found.items()}


def one_setting(network, image, pair, layer, method, budget, sign, baseline):
    """Relative probability and share of pixels kept, for the two contrasts that are compared."""
    names = ("original", "probability" if budget == "published" else "weighted")
    maps = [relevance(network, image, pair[:1], layer, method, name, corners=budget == "published") for name in names]
    stays = {"published": as_published, "swapped": with_signs_put_right, "caption": of_one_sign}[budget](*maps, sign)
    instead = BASELINES[baseline](image, network)
    found = {}
    for name, mask in zip(names, stays, strict=True):
        with torch.no_grad():
            y = network(torch.where(mask, image, instead))
        found[name] = [relative(y, pair), mask.float().mean().item()]
    return found


def relevance(network, image, target, layer, method, contrast, *, corners):
    outputs = []
    hook = network.model.get_submodule(layer).register_forward_hook(lambda *passed: outputs.append(passed[-1]))
    y = network(image)
    hook.remove()
    (gradient,) = torch.autograd.grad(SCORES[contrast](y, target).sum(), outputs[0])
    return functional.interpolate(RULES[method](outputs[0].detach(), gradient), size=image.shape[2:], mode="bilinear",
                                  align_corners=corners)


def blurred(image):
    """Gauss in two dimensions; 15 pixels in a window of 101 at 224 pixels, and in proportion where there are fewer."""
    scale = min(1.0, min(image.shape[2:]) / 224)
    window = 2 * round(50 * scale) + 1
    return gaussian_blur(image, [window, window], [15 * scale, 15 * scale]).clamp(0, 1)


def relative(y, pair):
    return torch.sigmoid(y[0, pair[0]] - y[0, pair[1]]).item()


def rank(relevance):
    return relevance.flatten().argsort(stable=True).argsort().view(relevance.shape)


def as_published(one, two, sign):
    if sign == "positive":
        count = min((one > 0).sum(), (two > 0).sum())
        return [rank(m) >= count for m in (one, two)]
    count = max((one < 0).sum(), (two < 0).sum())
    return [rank(m) <= m.numel() - count for m in (one, two)]


def with_signs_put_right(one, two, sign):
    one, two = (one, two) if sign == "positive" else (-one, -two)
    count = min((one <= 0).sum(), (two <= 0).sum())
    return [rank(m) >= count for m in (one, two)]


def of_one_sign(one, two, sign):
    one, two = (one, two) if sign == "positive" else (-one, -two)
    count = min((one > 0).sum(), (two > 0).sum())
    return [rank(m) >= m.numel() - count for m in (one, two)]


# --- attention rollout -----------------------------------------------------------------------------------------------


def rollout_image_by_image(network, images, target):
    """Gradient-weighted rollout the public way: attention not fused, one image at a time, whole matrices multiplied."""
    attentions = []
    blocks = network.model.blocks

    def keep(_module, args):
        attentions.append(args[0])

    handles = [block.attn.attn_drop.register_forward_pre_hook(keep) for block in blocks]
    fused = [block.attn.fused_attn for block in blocks]
    try:
        for block in blocks:
            block.attn.fused_attn = False
        return torch.stack([_rollout(network, image[None], target, attentions) for image in images])
    finally:
        for block, was in zip(blocks, fused):
            block.attn.fused_attn = was
        for handle in handles:
            handle.remove()


def _rollout(network, image, target, attentions):
    attentions.clear()
    score = network(image)[0, target]
    gradients = torch.autograd.grad(score, attentions)
    identity = torch.eye(attentions[0].shape[-1])
    result = identity
    for attention, gradient in zip(attentions, gradients):
        matrix = ((attention * gradient).mean(1)[0].detach() + identity) / 2
        result = matrix / matrix.sum(-1, keepdim=True) @ result
    return result[0, 1:]
