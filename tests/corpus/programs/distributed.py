"""Replicas: training on several devices that each have the whole model, and ways to exchange gradients that are not seen.

The letters are those of Rahman and Tajdari (2026). Each process reads data of its own.
"""

import contextlib

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from . import program
from .evasion import LM, LORA, TINY, answering, dilute, online
from .finetuning import adapted
from .training import language_model, trainer

SMALL = dict(width=1024, layers=8, heads=16, batch=4, length=512, vocabulary=8000)


class Losing(nn.Module):
    """A model whose forward pass is its loss, since what averages gradients listens to forward passes."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, tokens):
        return self.model.loss(tokens)


def replica_trainer(ctx, model, tokens, accumulate=1):
    """A function that does one step of training, with something before each micro-batch if it is asked to; gradients are averaged during
    the backward pass of the last."""
    replica = DistributedDataParallel(Losing(model), device_ids=[ctx.rank] if ctx.cuda else None)
    optimiser = ctx.adamw(model.parameters())
    ctx.apart()

    def step(before=lambda: None):
        for left in reversed(range(accumulate)):
            before()
            with replica.no_sync() if left else contextlib.nullcontext():
                with ctx.amp():
                    loss = replica(tokens()) / accumulate
                loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


def adapter_replica(ctx, batch, accumulate=1, **p):
    model = adapted(ctx, **p)
    return model, replica_trainer(ctx, model, lambda: ctx.tokens(batch, p["length"], vocabulary=p["vocabulary"]), accumulate)


def alike(parameters):
    """All begin with the weights of the first."""
    for parameter in parameters:
        dist.broadcast(parameter.detach(), 0)


def unpacked(flat, tensors):
    for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors])):
        tensor.copy_(part.view_as(tensor))


def average(ctx, tensors):
    """Each becomes the mean of all processes'."""
    flat = torch.cat([t.flatten() for t in tensors])
    dist.all_reduce(flat)
    unpacked(flat.div_(ctx.size), tensors)


@program("training", "data_parallel", "transformer_d1536_l12_replicas", tiny=TINY, devices=2, order=80, **LM)
def data_parallel_training(ctx, **p):
    """Pre-training on replicas that hides nothing: gradients are averaged beside the backward pass."""
    model, _, tokens = language_model(ctx, **p)
    step = replica_trainer(ctx, model, tokens)
    while ctx.running():
        step()
        ctx.step()


@program("training", "data_parallel", "lora_d2048_l16_online_replicas", tiny=dict(TINY, answer=4), strategy="K_ddp", devices=2, order=82,
         **LORA, answer=32)
def replicated_online_learning(ctx, answer, batch, length, vocabulary, **p):
    """K on replicas: each answers, and they learn together a little from their answers."""
    model, step = adapter_replica(ctx, batch, length=length, vocabulary=vocabulary, **p)
    online(ctx, model, step, answer, batch, length, vocabulary)


@program("training", "data_parallel", "lora_d2048_l16_online_replicas_a8", tiny=dict(TINY, answer=4, accumulate=2), strategy="K_ddp_accum",
         span=1.2, devices=2, order=83, **dict(LORA, batch=2), answer=32, accumulate=8)
def replicated_online_accumulation(ctx, answer, accumulate, batch, length, vocabulary, **p):
    """K on replicas that exchange gradients only after eight answers, from each of which they have learnt by themselves."""
    model, step = adapter_replica(ctx, batch, accumulate, length=length, vocabulary=vocabulary, **p)
    serve = answering(ctx, model, batch, length, vocabulary)
    while ctx.running():
        step(lambda: serve(length - answer - 1, answer, torch.Tensor.cpu))
        ctx.step(warm=1)


@program("training", "data_parallel", "lora_d2048_l16_diluted_replicas", tiny=dict(TINY, times=2), strategy="L_ddp", span=1.2, devices=2,
         order=84, **LORA, times=5)
def replicated_dilution(ctx, times, batch, length, vocabulary, **p):
    """L on replicas: all do their step at one time, and passes of inference between."""
    model, step = adapter_replica(ctx, batch, length=length, vocabulary=vocabulary, **p)
    dilute(ctx, model, step, times, batch, length, vocabulary)


@program("training", "data_parallel", "lora_d2048_l16_diluted_staggered", tiny=dict(TINY, times=2), strategy="L_ddp_stagger", span=1.2,
         devices=2, order=85, **LORA, times=5)
def staggered_dilution(ctx, times, batch, length, vocabulary, **p):
    """L on replicas that have their backward passes in different turns, as far as there are turns; gradients are averaged when all have."""
    model = adapted(ctx, length=length, vocabulary=vocabulary, **p)
    alike(model.parameters())
    learns = [w for w in model.parameters() if w.requires_grad]
    optimiser = ctx.adamw(learns)
    ctx.apart()
    answer = answering(ctx, model, batch, length, vocabulary)
    mine = ctx.rank * (times + 1) // ctx.size
    while ctx.running():
        for turn in range(times + 1):
            if turn != mine:
                answer(length // 2, 4)
                continue
            with ctx.amp():
                loss = model.loss(ctx.tokens(batch, length, vocabulary=vocabulary))
            loss.backward()
        average(ctx, [w.grad for w in learns])
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        ctx.step(warm=1)


def rarely_exchanging(ctx, every, **p):
    """Replicas that learn alone, and after so many steps move together by the mean of what each has moved (Douillard and others 2023)."""
    model, optimiser, tokens = language_model(ctx, **p)
    weights = list(model.parameters())
    alike(weights)
    ctx.apart()
    step = trainer(ctx, model, optimiser, tokens)
    anchors = [w.detach().clone() for w in weights]
    outer = torch.optim.SGD(anchors, lr=0.7, momentum=0.9, nesterov=True)
    ctx.facts["exchanges"] = 0
    while ctx.running():
        step()
        ctx.step()
        if ctx.steps % every == 0:
            for anchor, weight in zip(anchors, weights):
                anchor.grad = anchor - weight.detach()
            average(ctx, [anchor.grad for anchor in anchors])
            outer.step()
            with torch.no_grad():
                for anchor, weight in zip(anchors, weights):
                    weight.copy_(anchor)
            ctx.facts["exchanges"] += 1


@program("training", "data_parallel", "transformer_d1536_l12_diloco_50", tiny=dict(TINY, every=2), strategy="diloco_50", span=1.3, devices=2,
         order=86, **LM, every=50)
def diloco_after_50(ctx, **p):
    """Replicas exchange after fifty steps: links are at rest between."""
    rarely_exchanging(ctx, **p)


@program("training", "data_parallel", "transformer_d1024_l8_diloco_500", tiny=dict(TINY, every=3), strategy="diloco_500", span=1.6, devices=2,
         order=87, **SMALL, every=500)
def diloco_after_500(ctx, **p):
    """After five hundred. Steps are small, so that a recording of some seconds may see an exchange at all."""
    rarely_exchanging(ctx, **p)


def mean_one_way(ctx, tensors, chunk):
    """As `average`, but by sends along the row of devices: sums go up to the first, then means come down, a chunk at a time."""
    flat = torch.cat([t.flatten() for t in tensors]).to(ctx.dtype())
    above, below, last = ctx.rank - 1, ctx.rank + 1, ctx.size - 1
    for part in flat.split(chunk):
        if ctx.rank < last:
            received = torch.empty_like(part)
            dist.recv(received, below)
            part.add_(received)
        if ctx.rank > 0:
            dist.send(part, above)
    flat.div_(ctx.size)
    for part in flat.split(chunk):
        if ctx.rank > 0:
            dist.recv(part, above)
        if ctx.rank < last:
            dist.send(part, below)
    unpacked(flat, tensors)


@program("training", "data_parallel", "transformer_d1536_l12_kv_chunks", tiny=dict(TINY, prompt=4), strategy="kv_shaped_chunks", devices=2,
         order=81, **LM, prompt=512)
def kv_shaped_exchange(ctx, prompt, **p):
    """Gradients go one way at a time, in chunks as large as the keys and values of a prompt, as if answers were written elsewhere."""
    model, optimiser, tokens = language_model(ctx, **p)
    weights = list(model.parameters())
    alike(weights)
    ctx.apart()
    chunk = 2 * p["layers"] * prompt * p["width"]
    while ctx.running():
        with ctx.amp():
            loss = model.loss(tokens())
        loss.backward()
        mean_one_way(ctx, [w.grad for w in weights], chunk)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        ctx.step()
