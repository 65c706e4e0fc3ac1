"""A model that is cut up among devices: a pipeline that trains, and a service whose layers are shared."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from . import Skipped, program
from .evasion import TINY
from .inference import reader
from .models import Block, building


@program("training", "pipeline", "transformer_d2048_l24_stages", tiny=dict(TINY, micro=2), strategy="pipeline_staggered", span=1.2, devices=2,
         order=88, width=2048, layers=24, heads=16, batch=2, length=1024, vocabulary=32000, micro=8, stagger=0.5)
def staggered_pipeline(ctx, width, layers, heads, batch, length, vocabulary, micro, stagger):
    """Each device has some of the layers and begins its step later than it could, so that no two move together."""
    first, last = ctx.rank == 0, ctx.rank == ctx.size - 1
    mine = layers * (ctx.rank + 1) // ctx.size - layers * ctx.rank // ctx.size
    with building(ctx):
        stage = nn.ModuleDict({"blocks": nn.ModuleList(Block(width, heads) for _ in range(mine))})
        if first:
            stage["embed"] = nn.Embedding(vocabulary, width)
        if last:
            stage["head"] = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False))
    optimiser = ctx.adamw(stage.parameters())
    shape = dict(size=(batch, length, width), device=ctx.device, dtype=ctx.dtype())
    ctx.apart()
    took = 0.0

    def forward(entered):
        with ctx.amp():
            x = stage["embed"](ctx.tokens(batch, length, vocabulary=vocabulary)) if first else entered
            for block in stage["blocks"]:
                x = block(x)
            if not last:
                return x.to(ctx.dtype())
            # Texts are random numbers, so what comes next may be too, and need not be sent.
            wanted = ctx.tokens(batch * length, vocabulary=vocabulary)
            return F.cross_entropy(stage["head"](x).flatten(0, 1).float(), wanted) / micro

    while ctx.running():
        passed = []
        ctx.sleep(ctx.rank * stagger * micro * took)
        for _ in range(micro):
            entered = None
            if not first:
                entered = torch.empty(**shape)
                dist.recv(entered, ctx.rank - 1)
                entered.requires_grad_()
            ctx.sync()
            begun = ctx.now()
            left = forward(entered)
            ctx.sync()
            took = ctx.now() - begun
            if not last:
                dist.send(left.detach(), ctx.rank + 1)
            passed.append((entered, left))
        for entered, left in passed:
            if last:
                left.backward()
            else:
                gradient = torch.empty(**shape)
                dist.recv(gradient, ctx.rank + 1)
                left.backward(gradient)
            if not first:
                dist.send(entered.grad, ctx.rank - 1)
        del passed
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        ctx.step(warm=1)


class Summed(nn.Module):
    """A linear layer of which each device has some of the inputs."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, x):
        y = self.part(x)
        dist.all_reduce(y)
        return y


@program("inference_batch", "tensor_parallel_serving", "prefill_d3072_l20_shared", tiny=TINY, devices=2, order=89,
         width=3072, layers=20, heads=24, batch=16, length=2048, vocabulary=32000, pause=0.05)
def shared_prompts_in_rounds(ctx, width, heads, batch, length, vocabulary, pause, **p):
    """Prompts of one length are read in rounds by one model on all devices: as regular as training, with as much exchanged, and honest."""
    if heads % ctx.size:
        raise Skipped(f"{heads} heads cannot be shared among {ctx.size} GPUs")
    model = reader(ctx, length, width=width, heads=heads, vocabulary=vocabulary, **p)
    with building(ctx, ctx.dtype()):
        for block in model.blocks:
            block.attention.heads = heads // ctx.size
            block.attention.qkv = nn.Linear(width, 3 * width // ctx.size, bias=False)
            block.attention.out = Summed(nn.Linear(width // ctx.size, width, bias=False))
            block.mlp.up = nn.Linear(width, 4 * width // ctx.size, bias=False)
            block.mlp.down = Summed(nn.Linear(4 * width // ctx.size, width, bias=False))
    while ctx.running():
        with torch.inference_mode():
            model.head(model.hidden(ctx.tokens(batch, length, vocabulary=vocabulary))[:, -1]).argmax(-1).cpu()
        ctx.step()
        # The host puts away what was answered, and gathers the next.
        ctx.sleep(pause)
