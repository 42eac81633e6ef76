"""What each method adds to the reference model, written out as in published code.

Shapes: B clouds, L tokens, G patches, D width. A method sees the model through six places, all of which change nothing
unless it says so: `begin`, `tokens`, `op` after each norm and linear layer, `attended`, `fed` and `block`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UserError
from ..peft.adapter import Adapter
from ..peft.adapter_x import AdapterX
from ..peft.adaptformer import AdaptFormer
from ..peft.bottleneck import Bottleneck
from ..peft.dapt import DAPT
from ..peft.idpt import IDPT
from ..peft.lora import LoRA
from ..peft.method import Method
from ..peft.ssf import SSF
from ..peft.vpt import VPT

# The parameters are those of our modules, reached by their names; only what is computed with them is written here.
Part = Any


class Addition:
    """A method that adds nothing: probing, full fine-tuning, and those that train parameters of the backbone."""

    def __init__(self, method: Part, lead: int, patches: int) -> None:
        self.method, self.lead, self.patches = method, lead, patches
        self.penalty: Tensor | None = None

    def begin(self) -> None:
        self.penalty = None

    def embedded(self, x: Tensor) -> Tensor:
        return x

    def tokens(self, x: Tensor) -> Tensor:
        return x

    def op(self, block: int, name: str, x: Tensor, y: Tensor) -> Tensor:
        return y

    def attended(self, block: int, y: Tensor) -> Tensor:
        return y

    def fed(self, block: int, entering: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """`entering` enters the second norm, `x` the feed-forward part, `y` leaves it."""
        return y

    def block(self, block: int, y: Tensor) -> Tensor:
        return y

    def final(self, y: Tensor) -> Tensor:
        return y

    def insert(self, y: Tensor, prompts: Tensor, instead: int = 0) -> Tensor:
        """Put prompts behind the class token, in place of the `instead` that stand there."""
        return torch.cat([y[:, : self.lead], prompts, y[:, self.lead + instead :]], dim=1)


class ByHandDAPT(Addition):
    """TFTS after every operation as a product and a sum, the Dynamic Adapter, internal prompts."""

    update: Tensor

    def embedded(self, x: Tensor) -> Tensor:
        return _scale_shift(self.method.embed, x)

    def op(self, block: int, name: str, x: Tensor, y: Tensor) -> Tensor:
        tfts = self.method.blocks[block].tfts
        return _scale_shift(tfts[name], y) if name in tfts else y

    def fed(self, block: int, entering: Tensor, x: Tensor, y: Tensor) -> Tensor:
        self.update = _dynamic(self.method.blocks[block].adapter, x)
        return y + self.update

    def block(self, block: int, y: Tensor) -> Tensor:
        pooled = F.gelu(self.update).mean(dim=1, keepdim=True)
        return self.insert(y, _scale_shift(self.method.blocks[block].prompt, pooled))

    def final(self, y: Tensor) -> Tensor:
        return _scale_shift(self.method.final, y)


class ByHandMixture(Addition):
    """Adapter-X's shared mixture as in its algorithm 1: a loop over experts, their stack, a product with the gates."""

    def __init__(self, method: Part, lead: int, patches: int) -> None:
        super().__init__(method, lead, patches)
        self.terms: list[Tensor] = []
        config = method.config
        if config.tfts or config.prompt_tokens != "all" or config.score != "dot":
            raise UserError("The reference has no such form of the mixture of adapters", got=config.kind)

    update: Tensor

    def begin(self) -> None:
        self.terms = []

    def fed(self, block: int, entering: Tensor, x: Tensor, y: Tensor) -> Tensor:
        config = self.method.config
        x = y if config.place == "serial" else x
        mixture = self.method.mixtures[block if not config.shared else 0]
        sub = x.reshape(-1, x.shape[-1] // config.heads)
        embeddings = mixture.router.embeddings
        embeddings = F.normalize(embeddings, dim=-1) if config.normalise_experts else embeddings
        gates = (F.linear(sub, mixture.router.project.weight) @ embeddings.T).softmax(dim=-1)
        self.terms.append(self._balance(gates))
        mixed = self._all(mixture, sub, gates) if config.routing == "dense" else self._best(mixture, sub, gates)
        self.update = config.scale * mixed.view(x.shape)
        return y + self.update

    def _all(self, mixture: Part, sub: Tensor, gates: Tensor) -> Tensor:
        answers = torch.stack([_expert(expert, sub) for expert in mixture.experts], dim=1)  # (X, N, D / h)
        return torch.bmm(gates.unsqueeze(1), answers).squeeze(1)

    def _best(self, mixture: Part, sub: Tensor, gates: Tensor) -> Tensor:
        gate, chosen = gates.max(dim=-1)
        places = [torch.eq(chosen, p).nonzero(as_tuple=True)[0] for p in range(len(mixture.experts))]
        answers = sub.new_zeros(sub.shape)
        for place, expert in zip(places, mixture.experts):
            answers[place] = _expert(expert, sub[place]).to(answers.dtype)  # under autocast an expert answers in bf16
        return answers * gate.unsqueeze(-1)

    def _balance(self, gates: Tensor) -> Tensor:
        experts = gates.shape[-1]
        share = F.one_hot(gates.argmax(dim=-1), experts).to(gates.dtype).mean(dim=0)
        return experts * (share * gates.mean(dim=0)).sum()

    def block(self, block: int, y: Tensor) -> Tensor:
        config, generators = self.method.config, self.method.generators
        if len(generators):
            pooled = (F.gelu(self.update) if config.prompt_gelu else self.update).mean(dim=1)
            parts = pooled.view(len(pooled), config.heads if config.prompt_width == "sub-token" else 1, -1)
            prompt = _scale_shift(generators[min(block, len(generators) - 1)], parts)
            y = self.insert(y, prompt.reshape(len(y), 1, -1))
        return y

    def final(self, y: Tensor) -> Tensor:
        terms, config = torch.stack(self.terms), self.method.config
        self.penalty = config.balance * (terms.mean() if config.balance_over_blocks == "mean" else terms.sum())
        return y


class ByHandLoRA(Addition):
    """The low-rank product of each chosen linear layer, its answer padded to the layer's width."""

    def __init__(self, method: Part, lead: int, patches: int) -> None:
        super().__init__(method, lead, patches)
        self.rows: dict[str, list[Part]] = {}
        for name, row in zip(method.operations, method.rows):
            self.rows.setdefault(name, []).append(row)

    def op(self, block: int, name: str, x: Tensor, y: Tensor) -> Tensor:
        where = "attn" if name in ("qkv", "proj") else "mlp"
        for row in self.rows.get(f"blocks.{block}.{where}.{name}", ()):
            x = F.dropout(x, row.dropout.p, row.training)
            for place, down, up in zip(row.places, row.down, row.up):
                update = row.scale * ((x @ down.T) @ up.T)
                y = y + F.pad(update, (place * row.width, y.shape[-1] - (place + 1) * row.width))
        return y


class ByHandSSF(Addition):
    """A scale and a shift after every operation."""

    def __init__(self, method: Part, lead: int, patches: int) -> None:
        super().__init__(method, lead, patches)
        self.rows = {name.split(".", 1)[-1]: row for name, row in zip(method.widths, method.rows)}
        self.rows = {name.replace("attn.", "").replace("mlp.", ""): row for name, row in self.rows.items()}

    def embedded(self, x: Tensor) -> Tensor:
        return _scale_shift(self.rows.get("patch_embed"), x)

    def op(self, block: int, name: str, x: Tensor, y: Tensor) -> Tensor:
        return _scale_shift(self.rows[f"{block}.{name}"], y)

    def final(self, y: Tensor) -> Tensor:
        return _scale_shift(self.rows.get("norm"), y)


class ByHandAdaptFormer(Addition):
    """A scaled bottleneck beside the feed-forward part."""

    def fed(self, block: int, entering: Tensor, x: Tensor, y: Tensor) -> Tensor:
        rows = self.method.blocks[block]
        return y + _bottleneck(rows.bottleneck, entering) * rows.scale


class ByHandAdapter(Addition):
    """Bottlenecks with a residual behind attention and the feed-forward part."""

    def attended(self, block: int, y: Tensor) -> Tensor:
        return self._after(f"{block}-attn", y)

    def fed(self, block: int, entering: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return self._after(f"{block}-mlp", y)

    def _after(self, key: str, y: Tensor) -> Tensor:
        rows = self.method.rows
        return y + _bottleneck(rows[key].bottleneck, y) if key in rows else y


class ByHandVPT(Addition):
    """Prompts behind the class token, before the first block or anew before every one."""

    def tokens(self, x: Tensor) -> Tensor:
        return self.insert(x, self._prompts(0, x))

    def block(self, block: int, y: Tensor) -> Tensor:
        rows, before = self.method.rows, self.method.take_off.before
        if block + 1 < len(rows):
            return self.insert(y, self._prompts(block + 1, y), instead=before)
        last = f"blocks.{block}" == self.method.last
        return torch.cat([y[:, : self.lead], y[:, self.lead + before :]], dim=1) if last else y

    def _prompts(self, place: int, y: Tensor) -> Tensor:
        row = self.method.rows[place]
        prompts = row.prompts if row.positions is None else row.prompts + row.positions
        return prompts.expand(len(y), -1, -1)


class ByHandIDPT(Addition):
    """A prompt from three edge convolutions over the features of every edge (B, 2D, G, k), then one over their join."""

    def block(self, block: int, y: Tensor) -> Tensor:
        method = self.method
        if block == method.layer - 1:
            return self.insert(y, self._prompt(y[:, -self.patches :].transpose(1, 2)) + method.position)
        if method.layer <= block < method.depth - 1:
            return self.insert(y, y[:, self.lead : self.lead + 1] + method.position, instead=1)
        return y

    def _prompt(self, x: Tensor) -> Tensor:
        found: list[Tensor] = []
        for edge in self.method.generator.edges:
            made = F.conv2d(self._edges(x, edge.neighbours), edge.weight.weight[:, :, None, None])
            x = F.leaky_relu(_batch_norm(edge.norm, made), 0.2).max(dim=-1)[0]
            found.append(x)
        generator = self.method.generator
        mixed = F.conv1d(torch.cat(found, dim=1), generator.mix.weight[:, :, None])
        return F.leaky_relu(_batch_norm(generator.norm, mixed), 0.2).max(dim=-1)[0].unsqueeze(1)

    def _edges(self, x: Tensor, neighbours: int) -> Tensor:
        clouds, width, count = x.shape
        inner = -2 * torch.matmul(x.transpose(2, 1), x)
        squares = torch.sum(x**2, dim=1, keepdim=True)
        index = (-squares - inner - squares.transpose(2, 1)).topk(k=neighbours, dim=-1)[1]
        flat = (index + torch.arange(clouds, device=x.device).view(-1, 1, 1) * count).view(-1)
        rows = x.transpose(2, 1).contiguous()
        features = rows.view(clouds * count, -1)[flat, :].view(clouds, count, neighbours, width)
        centres = rows.view(clouds, count, 1, width).repeat(1, 1, neighbours, 1)
        return torch.cat([features - centres, centres], dim=3).permute(0, 3, 1, 2).contiguous()


def by_hand(method: nn.Module, lead: int, patches: int) -> Addition:
    """Return what computes this method; UserError where the reference does not have it."""
    made: dict[type[Method], type[Addition]] = {
        DAPT: ByHandDAPT,
        AdapterX: ByHandMixture,
        LoRA: ByHandLoRA,
        SSF: ByHandSSF,
        AdaptFormer: ByHandAdaptFormer,
        Adapter: ByHandAdapter,
        VPT: ByHandVPT,
        IDPT: ByHandIDPT,
    }
    for kind, addition in made.items():
        if isinstance(method, kind):
            return addition(method, lead, patches)
    if isinstance(method, Method) and not any(True for _ in method.attachments()):
        return Addition(method, lead, patches)
    raise UserError("The reference model has no such method", got=type(method).__name__)


def _scale_shift(row: Part, x: Tensor) -> Tensor:
    return x if row is None else x * row.gamma + row.beta


def _dynamic(adapter: Part, z: Tensor) -> Tensor:
    u = adapter.norm(z)
    scale = F.relu(F.linear(u, adapter.scale.weight, adapter.scale.bias))
    hidden = F.gelu(F.linear(u, adapter.down.weight, adapter.down.bias))
    hidden = F.dropout(hidden, adapter.dropout.p, adapter.training)
    return F.linear(hidden, adapter.up.weight, adapter.up.bias) * scale


def _bottleneck(made: Part, x: Tensor) -> Tensor:
    hidden = F.linear(x, made.down.weight, made.down.bias)
    hidden = F.relu(hidden) if made.activation == "relu" else F.gelu(hidden)
    return F.linear(F.dropout(hidden, made.dropout.p, made.training), made.up.weight, made.up.bias)


def _expert(expert: Part, x: Tensor) -> Tensor:
    return _bottleneck(expert, x) if isinstance(expert, Bottleneck) else _dynamic(expert, x)


def _batch_norm(norm: Part, x: Tensor) -> Tensor:
    if norm.training:
        norm.num_batches_tracked.add_(1)
    return F.batch_norm(
        x,
        norm.running_mean,
        norm.running_var,
        norm.weight,
        norm.bias,
        norm.training,
        norm.momentum,
        norm.eps,
    )
