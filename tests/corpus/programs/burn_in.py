"""Tests of the hardware itself."""

import torch

from . import program


@program("other", "burn_in", "gemm_check_fp16_fp64", tiny=dict(n=32), order=30, n=8192)
def gemm_burn_in(ctx, n):
    """Products at full power, each compared with the first, as burn-in programs do."""
    pairs = []
    for dtype, size in ((torch.float16, n), (torch.float32, n // 2)):
        a, b = (torch.rand(size, size, device=ctx.device, dtype=torch.float32).to(dtype) for _ in range(2))
        pairs.append((a, b, torch.mm(a, b)))
    while ctx.running():
        a, b, first = pairs[ctx.steps // 40 % 2]
        c = torch.mm(a, b)
        if ctx.steps % 10 == 0:
            torch.equal(c, first)
        ctx.step()


@program("other", "burn_in", "memory_patterns_24gib", tiny=dict(words=4096), order=46, words=3 << 30)
def memory_test(ctx, words):
    """Patterns are written to memory and read back."""
    memory = torch.zeros(words, dtype=torch.int64, device=ctx.device)
    for_ever = [0, -1, 0x5555555555555555, -0x5555555555555556]
    while ctx.running():
        pattern = for_ever[ctx.steps % 4]
        memory.fill_(pattern)
        # Read back as a sum: a wrong bit changes it.
        memory.sum().item()
        ctx.step()


@program("other", "burn_in", "copies_host_device", tiny=dict(mib=1), order=55, mib=1024)
def bandwidth_test(ctx, mib):
    """Copies within the device, to the host and from it, as tests of bandwidth do."""
    here, there = (torch.zeros(mib << 20, dtype=torch.uint8, device=ctx.device) for _ in range(2))
    host = ctx.host((mib << 20) // 4, dtype=torch.uint8)
    while ctx.running():
        for _ in range(20):
            there.copy_(here)
        here[: host.numel()].copy_(host, non_blocking=True)
        host.copy_(here[: host.numel()], non_blocking=True)
        ctx.step()
