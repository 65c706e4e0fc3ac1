"""Training whose forward products are in numbers of eight bits, which take a device less time; whole numbers have pipes of their own.

Backward products are in BF16, straight through the rounding: the gradient is that of the product as if it had not been rounded.
"""

import torch
from torch import nn

from . import Skipped, program
from .evasion import LM, TINY
from .training import language_model, trainer


def in_fp8(x, weight):
    """Both are scaled by their largest value to what E4M3 holds."""
    most = torch.finfo(torch.float8_e4m3fn).max
    scales = [t.abs().amax().float().clamp(min=1e-12) / most for t in (x, weight)]
    a, b = ((t / s).clamp(-most, most).to(torch.float8_e4m3fn) for t, s in zip((x, weight), scales))
    return torch._scaled_mm(a, b.t(), scale_a=scales[0], scale_b=scales[1], out_dtype=torch.bfloat16)


def in_int8(x, weight):
    """Each row of both is scaled by its largest value."""
    scales = [t.abs().amax(1, keepdim=True).float().clamp(min=1e-12) / 127 for t in (x, weight)]
    a, b = ((t / s).round().to(torch.int8) for t, s in zip((x, weight), scales))
    return (torch._int_mm(a, b.t()) * scales[0] * scales[1].t()).to(torch.bfloat16)


class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, narrow):
        ctx.save_for_backward(x, weight)
        return narrow(x, weight)

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        return gradient @ weight, gradient.t() @ x, None


class Narrow(nn.Module):
    """A linear layer with a product of its own."""

    def __init__(self, base, narrow):
        super().__init__()
        self.weight, self.narrow = base.weight, narrow

    def forward(self, x):
        rows = x.flatten(0, -2).to(torch.bfloat16)
        return Product.apply(rows, self.weight.to(torch.bfloat16), self.narrow).view(*x.shape[:-1], -1)


def narrow_training(ctx, narrow, **p):
    """A language model whose blocks have such layers. The head stays, as is usual: its rounding would cost most."""
    tried = torch.ones(32, 32, device=ctx.device, dtype=torch.bfloat16)
    try:
        narrow(tried, tried)
    except (RuntimeError, NotImplementedError) as error:
        raise Skipped(f"the device has no such product: {str(error).splitlines()[0][:200]}") from error
    model, optimiser, batch = language_model(ctx, **p)
    for block in model.blocks:
        for of, names in ((block.attention, ("qkv", "out")), (block.mlp, ("up", "down"))):
            for name in names:
                setattr(of, name, Narrow(getattr(of, name), narrow))
    step = trainer(ctx, model, optimiser, batch)
    while ctx.running():
        step()
        ctx.step()


@program("training", "pretraining", "transformer_d1536_l12_fp8", tiny=TINY, strategy="fp8_training", order=76, **LM)
def fp8_training(ctx, **p):
    """Forward products in FP8."""
    narrow_training(ctx, in_fp8, **p)


@program("training", "pretraining", "transformer_d1536_l12_int8", tiny=TINY, strategy="int8_training", order=77, **LM)
def int8_training(ctx, **p):
    """Forward products in whole numbers of eight bits."""
    narrow_training(ctx, in_int8, **p)
