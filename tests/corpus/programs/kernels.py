"""Kernels of our own in CUDA C, for what matrix libraries do not do.

They are compiled where they run, by CuPy or by PyTorch, whichever is there. Where neither can, a program falls back on
whole-tensor operations and says so.
"""

import torch


def _cupy(source, name, grid, block):
    import cupy
    import numpy

    compiled = cupy.RawKernel(source, name)

    def run(*args):
        given = [numpy.uint64(a.data_ptr()) if isinstance(a, torch.Tensor) else numpy.int32(a) for a in args]
        stream = cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream)
        with stream:
            compiled(grid, block, tuple(given))

    return run


def _torch(source, name, grid, block):
    compiled = torch.cuda._compile_kernel(source, name)
    return lambda *args: compiled(grid=grid, block=block, args=list(args))


def kernel(ctx, source, name, *trial, grid, block):
    """A function that runs the kernel on tensors and whole numbers; none without a GPU, or where it cannot be compiled.
    It is tried out once with `trial`."""
    if not ctx.cuda:
        ctx.facts["kernel"] = "none"
        return None
    for made_by, make in (("cupy", _cupy), ("torch", _torch)):
        try:
            run = make(source, name, grid, block)
            run(*trial)
            torch.cuda.synchronize()
        except Exception as error:
            if "illegal" in str(error):
                raise
            ctx.facts[f"kernel_{made_by}"] = str(error)[:200]
            continue
        ctx.facts["kernel"] = made_by
        return run
    ctx.facts["kernel"] = "none"
    return None
