"""Training that would rather not be seen: strategies of the literature, by their letters, on one and the same training.

The letters are those of Rahman and Tajdari (2026). Each program does useful steps of training, at the price that its strategy
has; `ctx.facts` tells how many, so that the price can be told.
"""

import torch

from . import program
from .context import Pace
from .finetuning import adapter_trainer
from .inference import reader
from .models import Cache
from .training import TINY_LM, language_model, trainer

LM = dict(width=1536, layers=12, heads=12, batch=8, length=1024, vocabulary=32000)
LORA = dict(width=2048, layers=16, heads=16, batch=4, length=1024, vocabulary=32000)
TINY = dict(TINY_LM)


def dense(ctx, **p):
    return trainer(ctx, *language_model(ctx, **p))


def timed(ctx, work):
    """Does some work, and says how long it took."""
    begun = ctx.now()
    work()
    ctx.sync()
    return ctx.now() - begun


def answering(ctx, model, batch, length, vocabulary):
    """A function that reads prompts of a length and writes so many tokens after them; whoever waits for a token looks at each."""
    cache = Cache(ctx, model, batch, length)

    def answer(prompt, tokens, look=lambda token: None):
        token = model.prefill(ctx.tokens(batch, prompt, vocabulary=vocabulary), cache, slice(0, batch))[:, None]
        for place in range(prompt, prompt + tokens):
            token = model.decode(token, cache, torch.full((batch, 1), place, device=ctx.device), place + 1)
            look(token)

    return answer


def dilute(ctx, model, step, times, batch, length, vocabulary):
    """Steps of training, each among so many passes of inference."""
    answer = answering(ctx, model, batch, length, vocabulary)
    while ctx.running():
        step()
        for _ in range(times):
            if not ctx.running():
                return
            answer(length // 2, 4)
        ctx.step(warm=1)


def online(ctx, model, step, answer, batch, length, vocabulary):
    """A service that learns from each of its answers."""
    serve = answering(ctx, model, batch, length, vocabulary)
    while ctx.running():
        serve(length - answer - 1, answer, torch.Tensor.cpu)
        step()
        ctx.step(warm=1)


@program("training", "pretraining", "transformer_d1536_l12", tiny=TINY, strategy="O_idle_padding_50", span=1.2, order=6, **LM)
def idle_padding(ctx, **p):
    """O: as much idle time is put between groups of steps as they take."""
    step = dense(ctx, **p)
    while ctx.running():
        took = sum(timed(ctx, step) for _ in range(4))
        ctx.step(warm=1)
        ctx.sleep(took)


@program("training", "pretraining", "transformer_d1536_l12", tiny=TINY, strategy="O_idle_padding_90", span=1.4, order=58, **LM)
def idle_padding_wide(ctx, **p):
    """O: nine tenths of the time are idle."""
    step = dense(ctx, **p)
    while ctx.running():
        took = sum(timed(ctx, step) for _ in range(2))
        ctx.step(warm=1)
        ctx.sleep(9 * took)


@program("training", "low_rank_adaptation", "lora_d2048_l16_small", tiny=dict(TINY, per_second=1000), strategy="B_low_utilisation", order=7,
         **dict(LORA, batch=1, length=256), per_second=6.0)
def low_utilisation(ctx, per_second, **p):
    """B: few and small steps at a steady rate, so that the device looks nearly idle."""
    _, step = adapter_trainer(ctx, **p)
    pace = Pace(ctx, per_second)
    while ctx.running():
        step()
        ctx.step()
        pace.wait()


@program("training", "low_rank_adaptation", "lora_d2048_l16_diluted", tiny=dict(TINY, times=2), strategy="L_diluted_5", span=1.2, order=5,
         **LORA, times=5)
def diluted_training(ctx, times, batch, length, vocabulary, **p):
    """L: each step of training stands among five passes of inference with the same model."""
    model, step = adapter_trainer(ctx, batch=batch, length=length, vocabulary=vocabulary, **p)
    dilute(ctx, model, step, times, batch, length, vocabulary)


@program("training", "low_rank_adaptation", "lora_d2048_l16_a8", tiny=dict(TINY, accumulate=2), strategy="N_gradient_accumulation_8",
         order=43, **LORA, accumulate=8)
def accumulated_adaptation(ctx, accumulate, **p):
    """N: the optimiser's trace appears only after eight micro-batches."""
    _, step = adapter_trainer(ctx, accumulate=accumulate, **p)
    while ctx.running():
        step()
        ctx.step()


@program("training", "pretraining", "transformer_d1536_l12", tiny=TINY, strategy="G_throttled", order=31, **LM)
def throttled_training(ctx, **p):
    """G, without the right to set clocks: a short sleep after each micro-step holds the device to a third of its speed."""
    model, optimiser, batch = language_model(ctx, **dict(p, batch=max(1, p["batch"] // 4)))
    step = trainer(ctx, model, optimiser, batch, accumulate=4)

    def pause():
        ctx.sync()
        ctx.sleep(0.02)

    while ctx.running():
        step(pause)
        ctx.step(warm=1)


@program("training", "pretraining", "transformer_d1536_l12_and_decode", tiny=dict(TINY, seconds=(0.01, 0.01)), strategy="F_interleave_30_50",
         span=1.6, order=8, **LM, seconds=(1.2, 2.0))
def interleaved_training(ctx, seconds, batch, length, vocabulary, **p):
    """F: stretches of training and of serving take turns, 30 to 50."""
    step = dense(ctx, batch=batch, length=length, vocabulary=vocabulary, **p)
    model = reader(ctx, length, vocabulary=vocabulary, **p)
    cache = Cache(ctx, model, batch, length)
    trains, serves = seconds
    while ctx.running():
        end = ctx.now() + trains
        while ctx.running() and ctx.now() < end:
            step()
            ctx.step()
            ctx.facts["trained"] = ctx.facts.get("trained", 0) + 1
        ctx.sync()
        end = ctx.now() + serves
        while ctx.running() and ctx.now() < end:
            token = model.prefill(ctx.tokens(batch, length // 2, vocabulary=vocabulary), cache, slice(0, batch))[:, None]
            for place in range(length // 2, length - 1):
                if not ctx.running() or ctx.now() >= end:
                    break
                token = model.decode(token, cache, torch.full((batch, 1), place, device=ctx.device), place + 1)
                token.cpu()


@program("training", "pretraining", "transformer_d1536_l12", tiny=TINY, strategy="A_utilisation_modulation", span=1.3, order=61, **LM)
def modulated_training(ctx, **p):
    """A: pauses swell and shrink, so that utilisation follows a slow wave."""
    step = dense(ctx, **p)
    while ctx.running():
        took = timed(ctx, step)
        ctx.step(warm=1)
        phase = torch.tensor(ctx.now() * 1.5).sin().item()
        ctx.sleep(took * (1 + phase) * 1.5)


@program("training", "pretraining", "transformer_d1536_l12", tiny=TINY, strategy="I_stochastic", span=1.2, order=62, **LM)
def stochastic_training(ctx, batch, length, **p):
    """I: sizes of batches and pauses are drawn at random, so that nothing repeats."""
    model, optimiser, _ = language_model(ctx, batch=batch, length=length, **p)

    def tokens():
        rows, long = 1 + ctx.random.randrange(batch), length - ctx.random.randrange(length // 2)
        return ctx.tokens(rows, long, vocabulary=p["vocabulary"])

    step = trainer(ctx, model, optimiser, tokens)
    while ctx.running():
        step()
        ctx.step()
        ctx.sleep(ctx.random.expovariate(1 / 0.06))


@program("training", "low_rank_adaptation", "lora_d2048_l16_online", tiny=dict(TINY, answer=4), strategy="K_online_learning", order=63,
         **LORA, answer=32)
def online_learning(ctx, answer, batch, length, vocabulary, **p):
    """K: a service answers, and learns a little from each answer."""
    model, step = adapter_trainer(ctx, batch=batch, length=length, vocabulary=vocabulary, **p)
    online(ctx, model, step, answer, batch, length, vocabulary)


@program("training", "pretraining", "transformer_d1536_l12_and_hash", tiny=TINY, strategy="H_mimicry_fourier", order=64, **LM)
def mimicking_training(ctx, **p):
    """H: transforms fill the time between steps, so that it looks like a spectral solver."""
    step = dense(ctx, **p)
    n = 8 if ctx.tiny else 256
    field = torch.randn(n, n, n, device=ctx.device, dtype=torch.complex64)
    while ctx.running():
        took = timed(ctx, step)
        ctx.step(warm=1)
        end = ctx.now() + took
        while ctx.running() and ctx.now() < end:
            field = torch.fft.ifftn(torch.fft.fftn(field))
            ctx.sync()


@program("training", "pretraining", "transformer_d1024_memory_minimal", tiny=TINY, strategy="E_memory_minimal", order=65,
         width=1024, layers=12, heads=16, batch=2, length=512, vocabulary=8000)
def memory_minimal(ctx, batch, length, vocabulary, **p):
    """E: small weights in BF16, plain gradient descent and tiny batches hold as little memory as can be."""
    model = reader(ctx, length, vocabulary=vocabulary, **p).train()
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4)
    while ctx.running():
        model.loss(ctx.tokens(batch, length, vocabulary=vocabulary)).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        ctx.step()
