"""More training that would rather not be seen, on one device: what controls, fills, locks, and leaves no tail.

The letters are those of Rahman and Tajdari (2026); what has none is of our own list. `evasion.py` has the others.
"""

import contextlib
import threading

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from . import Skipped, clocks, program
from .evasion import LM, TINY, dense
from .inference import reader
from .training import language_model, trainer


@program("training", "pretraining", "transformer_d1536_l12_a4", tiny=dict(TINY, accumulate=2), strategy="D_temporal_disruption", span=1.2,
         order=70, **LM, accumulate=4)
def disrupted_training(ctx, accumulate, batch, length, vocabulary, **p):
    """D: micro-batches of different lengths come in drawn order and after drawn pauses, so that no step has a beat."""
    model, optimiser, _ = language_model(ctx, batch=batch, length=length, vocabulary=vocabulary, **p)
    order = []

    def tokens():
        if not order:
            order.extend(ctx.random.sample([length * i // accumulate for i in range(1, accumulate + 1)], accumulate))
        return ctx.tokens(batch, order.pop(), vocabulary=vocabulary)

    def pause():
        ctx.sync()
        ctx.sleep(ctx.random.expovariate(1 / 0.05))

    step = trainer(ctx, model, optimiser, tokens, accumulate)
    while ctx.running():
        step(pause)
        ctx.step(warm=1)


class Controller:
    """Holds the share of time with work: a controller of three terms, which says how long to sleep after each piece of it."""

    # Pieces over which the share is taken.
    OVER = 20

    def __init__(self, share, proportional=1.0, integral=0.2, derivative=0.1):
        self.share, self.terms = share, (proportional, integral, derivative)
        self.worked = self.passed = self.before = 0.0
        # What the sum of errors is in the end, times its term.
        self.sum = (1 / share - 1) / integral

    def pause(self, worked, passed):
        """How long to sleep, after so many seconds of work among so many that have passed since the last answer."""
        kept = 1 - 1 / self.OVER
        self.worked, self.passed = self.worked * kept + worked, self.passed * kept + passed
        error = self.worked / self.passed - self.share
        self.sum = min(max(self.sum + error, 0.0), 4 / self.terms[1])
        said = sum(term * of for term, of in zip(self.terms, (error, self.sum, error - self.before)))
        self.before = error
        return worked * min(max(said, 0.0), 4.0)


@program("training", "pretraining", "transformer_d1536_l12_a4", tiny=TINY, strategy="J_pid_75", order=71, **LM, share=0.75)
def controlled_training(ctx, share, **p):
    """J: a controller sleeps between micro-steps so that kernels are resident three quarters of the time, neither more nor less."""
    model, optimiser, batch = language_model(ctx, **dict(p, batch=max(1, p["batch"] // 4)))
    step = trainer(ctx, model, optimiser, batch, accumulate=4)
    controller, resumed, before = Controller(share), ctx.now(), ctx.now()

    def pause():
        nonlocal resumed, before
        ctx.sync()
        now = ctx.now()
        worked, passed = now - resumed, now - before
        before = now
        ctx.sleep(controller.pause(worked, passed))
        resumed = ctx.now()

    while ctx.running():
        step(pause)
        ctx.step(warm=1)
    ctx.facts["share"] = round(controller.worked / max(controller.passed, 1e-9), 3)


class Checkpointed(nn.Module):
    """A block that keeps nothing of its forward pass but what enters, and does it again for the backward pass."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x, causal=True, keep=None):
        return checkpoint(self.block, x, causal, keep, use_reentrant=False)


@program("training", "pretraining", "transformer_d1024_checkpointed_a8", tiny=dict(TINY, accumulate=2), strategy="M_composite_memory_minimal",
         span=1.2, order=72, width=1024, layers=12, heads=16, length=512, vocabulary=8000, accumulate=8)
def composite_minimal(ctx, accumulate, length, vocabulary, batch=1, **p):
    """M: activations are computed twice, micro-batches are single texts, the optimiser keeps a row and a column; pauses are drawn."""
    model = reader(ctx, length, vocabulary=vocabulary, **p).train()
    model.blocks = nn.ModuleList(Checkpointed(block) for block in model.blocks)
    optimiser = torch.optim.Adafactor(model.parameters(), lr=1e-4)
    step = trainer(ctx, model, optimiser, lambda: ctx.tokens(batch, length, vocabulary=vocabulary), accumulate)
    while ctx.running():
        step()
        ctx.step()
        ctx.sync()
        ctx.sleep(ctx.random.expovariate(1 / 0.08))


@contextlib.contextmanager
def filler(ctx, width, burst):
    """Within it, products in FP32 go to a stream of lower priority, which are too small for all SMs; what is within goes first."""
    over = threading.Event()
    a, b, c = (ctx.rand(width, width) for _ in range(3))
    ctx.sync()
    fills = torch.cuda.Stream() if ctx.cuda else None
    works = torch.cuda.Stream(priority=-1) if ctx.cuda else None

    def fill():
        ahead = []
        while not over.is_set():
            with torch.cuda.stream(fills):
                for _ in range(burst):
                    torch.mm(a, b, out=c)
                if ctx.cuda:
                    # One that is waited for asleep, since the other thread has a training to launch.
                    ahead.append(fills.record_event(torch.cuda.Event(blocking=True)))
            ctx.facts["filled"] = ctx.facts.get("filled", 0) + burst
            # No further ahead than that one burst follows another.
            if len(ahead) > 1:
                ahead.pop(0).synchronize()

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        with torch.cuda.stream(works):
            yield
        if not thread.is_alive():
            raise RuntimeError("what fills ended before the training")
    finally:
        over.set()
        thread.join()


@program("training", "pretraining", "transformer_d1536_l12", tiny=dict(TINY, filler_width=64, burst=1), strategy="power_filler", order=73,
         **LM, filler_width=1024, burst=16)
def filled_training(ctx, filler_width, burst, **p):
    """A second stream fills the SMs and the moments that a step leaves empty, so that power stays flat."""
    step = dense(ctx, **p)
    with filler(ctx, filler_width, burst):
        while ctx.running():
            step()
            ctx.step()
        ctx.sync()


@program("training", "pretraining", "transformer_d1536_l12", tiny=TINY, strategy="clock_locked", order=78, **LM, share=0.65)
def clocked_training(ctx, share, **p):
    """The clock is locked at two thirds, so that power has no swings; afterwards it is free."""
    if not ctx.cuda:
        raise Skipped("there is no GPU whose clocks could be locked")
    if not ctx.may_set_clocks:
        raise Skipped("it locks the GPU's clocks, which --set-clocks allows")
    with clocks.locked(f"GPU-{torch.cuda.get_device_properties(ctx.device).uuid}", share) as mhz:
        ctx.facts["locked_mhz"] = mhz
        step = dense(ctx, **p)
        while ctx.running():
            step()
            ctx.step()
        ctx.sync()


@program("training", "pretraining", "transformer_d1536_l12", tiny=TINY, strategy="fused_update", order=74, **LM)
def fused_update_training(ctx, **p):
    """Each parameter is updated as soon as its gradient is there, within the backward pass: a step has no tail."""
    model, _, batch = language_model(ctx, **p)

    def updating(optimiser):
        def update(_):
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

        return update

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(updating(ctx.adamw([parameter])))
    while ctx.running():
        with ctx.amp():
            loss = model.loss(batch())
        loss.backward()
        ctx.step()


@program("training", "offload", "transformer_d1536_l12_b4", tiny=TINY, strategy="activation_offload", span=1.2, order=75, **dict(LM, batch=4))
def offloaded_activations(ctx, **p):
    """What the backward pass needs goes to the host's memory in the forward pass, and comes back."""
    model, optimiser, batch = language_model(ctx, **p)
    while ctx.running():
        with torch.autograd.graph.save_on_cpu(pin_memory=ctx.cuda), ctx.amp():
            loss = model.loss(batch())
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        ctx.step(warm=1)
