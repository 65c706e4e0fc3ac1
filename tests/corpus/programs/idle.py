"""Nothing, with more or less in memory."""

import torch

from . import program


@program("idle", "idle", "context_only", span=0.8, order=34)
def idle_context(ctx):
    """A process has the device open and does nothing."""
    ctx.ready()
    while ctx.running():
        ctx.sleep(0.1)
        ctx.steps += ctx.tiny


@program("idle", "memory_held", "held_48gib", tiny=dict(gib=0), span=0.8, order=13, gib=48)
def idle_memory_held(ctx, gib):
    """A model is loaded and waits: much memory is held, nothing runs."""
    held = [torch.zeros(1 << 30, dtype=torch.uint8, device=ctx.device) for _ in range(gib)]
    ctx.ready()
    while ctx.running():
        ctx.sleep(0.1)
        ctx.steps += ctx.tiny
    del held


@program("idle", "keep_alive", "probe_each_second", tiny=dict(gib=0), span=0.8, order=57, gib=8)
def idle_keep_alive(ctx, gib):
    """A loaded service that nobody asks, and a probe of its health each second."""
    held = [torch.zeros(1 << 30, dtype=torch.uint8, device=ctx.device) for _ in range(gib)]
    a = torch.rand(256, 256, device=ctx.device)
    while ctx.running():
        (a @ a).sum().item()
        ctx.step(warm=1)
        ctx.sleep(1.0)
    del held
