"""Every method on every kind of backbone, as small models."""

from __future__ import annotations

import torch
from pointsmith.core.config import choices
from pointsmith.core.models.trunk import Trunk
from pointsmith.core.peft.tuned_model import Tuned

from tests.support.tiny import BACKBONES, inputs_for, tiny_run

Pair = tuple[str, str]

METHODS = sorted(choices("method"))

INSERTING = {"dapt", "idpt", "vpt", "noah"}
"""Methods that put prompts among the tokens, whatever their settings."""

PAIRS: list[Pair] = [
    (kind, place) for place in BACKBONES for kind in METHODS if place != "point-m2ae" or kind not in INSERTING
]


def config_of(pair: Pair, dense: bool = False, **changes):
    kind, place = pair
    method = {"kind": kind, **({"neighbours": 4} if kind == "idpt" else {})}
    if dense and "routing" in choices("method")[kind].model_fields:
        method["routing"] = "dense"
    if place == "point-m2ae" and "prompts" in choices("method")[kind].model_fields:
        method["prompts"] = "none"
    changes["backbone"] = {**BACKBONES[place], **changes.get("backbone", {})}
    return tiny_run(method, **changes)


def randomise(model: torch.nn.Module) -> None:
    torch.manual_seed(1)
    with torch.no_grad():  # what starts at zero would hide mistakes
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
            if name.endswith("scale.bias"):  # the gate of the dynamic adapter, open for every token
                parameter.fill_(1.0)


def see(model: Tuned, seed: int = 0) -> torch.Tensor:
    """Return the model's logits of four random inputs."""
    return model(inputs_of(model.trunk, seed))


def inputs_of(trunk: Trunk, seed: int = 0) -> torch.Tensor:
    return inputs_for(trunk.config, seed=seed)  # type: ignore[attr-defined]
