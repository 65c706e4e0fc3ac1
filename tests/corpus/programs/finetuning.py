"""Training that begins from a trained model: adapters, all weights, preferences, and a teacher."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from . import program
from .models import Transformer, building
from .training import trainer

TINY = dict(width=32, layers=2, heads=2, batch=2, length=16, vocabulary=64)


class Adapted(nn.Module):
    """A linear layer that stays as it is, with a narrow one beside it that learns."""

    def __init__(self, base, rank):
        super().__init__()
        self.base = base.requires_grad_(False)
        like = dict(device=base.weight.device, dtype=torch.float32)
        self.down = nn.Parameter(torch.randn(rank, base.in_features, **like) * base.in_features**-0.5)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank, **like))

    def forward(self, x):
        return self.base(x) + F.linear(F.linear(x, self.down.to(x.dtype)), self.up.to(x.dtype))


def adapted(ctx, width, layers, heads, length, vocabulary, rank=16):
    """A language model in which only adapters learn."""
    with building(ctx, ctx.dtype()):
        model = Transformer(width, layers, heads, vocabulary, length).requires_grad_(False)
    for block in model.blocks:
        block.attention.qkv = Adapted(block.attention.qkv, rank)
        block.attention.out = Adapted(block.attention.out, rank)
    return model


def adapter_trainer(ctx, batch=4, accumulate=1, **p):
    """A function that does one step of training of adapters."""
    model = adapted(ctx, **p)
    optimiser = ctx.adamw(model.parameters())
    tokens = lambda: ctx.tokens(batch, p["length"], vocabulary=p["vocabulary"])
    return model, trainer(ctx, model, optimiser, tokens, accumulate)


@program("training", "low_rank_adaptation", "lora_d3072_l20_r16", tiny=TINY, order=6,
         width=3072, layers=20, heads=24, batch=8, length=1024, vocabulary=32000)
def low_rank_adaptation(ctx, **p):
    """Fine-tuning of adapters of rank 16 beside frozen weights."""
    _, step = adapter_trainer(ctx, **p)
    while ctx.running():
        step()
        ctx.step()


@program("training", "full_finetuning", "finetune_d3072_l10_bf16", tiny=dict(TINY, every=1), span=1.3, order=13,
         width=3072, layers=10, heads=24, batch=4, length=1024, vocabulary=32000, every=24)
def full_finetuning(ctx, every, batch, length, vocabulary, **p):
    """Fine-tuning of all weights in BF16, with texts of different lengths, an evaluation and a checkpoint now and then."""
    with building(ctx, ctx.dtype()):
        model = Transformer(length=length, vocabulary=vocabulary, **p)
    optimiser = ctx.adamw(model.parameters())
    saved = [torch.empty(w.shape, dtype=w.dtype, pin_memory=False) for w in model.parameters()]
    while ctx.running():
        long = length - ctx.random.randrange(length // 2)
        model.loss(ctx.tokens(batch, long, vocabulary=vocabulary)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        ctx.step()
        if ctx.steps % every == 0 and ctx.running():
            with torch.inference_mode():
                for _ in range(4):
                    model.loss(ctx.tokens(batch, length, vocabulary=vocabulary))
                for kept, weight in zip(saved, model.parameters()):
                    kept.copy_(weight)


@program("training", "preference", "dpo_d2048_l10", tiny=TINY, order=48,
         width=2048, layers=10, heads=16, batch=8, length=768, vocabulary=32000)
def preference_training(ctx, batch, length, vocabulary, **p):
    """Two answers to a question: the model learns to prefer one, held against a frozen copy of itself."""
    with building(ctx, ctx.dtype()):
        model = Transformer(length=length, vocabulary=vocabulary, **p)
    frozen = copy.deepcopy(model).requires_grad_(False)
    optimiser = ctx.adamw(model.parameters(), lr=1e-6)

    def chance(of, text):
        logits = of(text)[:, :-1].float()
        return logits.log_softmax(-1).gather(-1, text[:, 1:, None]).squeeze(-1).sum(1)

    while ctx.running():
        text = ctx.tokens(batch, length, vocabulary=vocabulary)
        with torch.no_grad():
            before = chance(frozen, text)
        gained = chance(model, text) - before
        good, bad = gained.chunk(2)
        (-F.logsigmoid(0.1 * (good - bad)).mean()).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        ctx.step()


@program("training", "distillation", "distil_d3072_to_d1024", tiny=dict(TINY, narrow=16), order=47,
         width=3072, narrow=1024, layers=10, heads=16, batch=8, length=768, vocabulary=16000)
def distillation(ctx, width, narrow, layers, heads, batch, length, vocabulary):
    """A small model learns what a large one says."""
    with building(ctx, ctx.dtype()):
        teacher = Transformer(width, layers, heads, vocabulary, length).requires_grad_(False)
    with building(ctx):
        pupil = Transformer(narrow, layers, heads, vocabulary, length)
    optimiser = ctx.adamw(pupil.parameters())
    while ctx.running():
        tokens = ctx.tokens(batch, length, vocabulary=vocabulary)
        with torch.no_grad():
            told = teacher(tokens).float().log_softmax(-1)
        with ctx.amp():
            said = pupil(tokens)
        F.kl_div(said.float().log_softmax(-1), told, log_target=True, reduction="batchmean").div(length).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        ctx.step()
