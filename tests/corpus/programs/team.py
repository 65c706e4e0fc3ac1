"""A program on several devices: a process for each, of which the worker is the first and starts the others.

It is also what those others run. One of them ends when the worker does, however that comes about, since what it reads from
the worker then ends; so a program that hangs leaves nobody on a device.
"""

import contextlib
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import traceback

import torch
import torch.distributed as dist

from . import FAMILIES, Skipped, load
from .context import Context

# Longer than any wait within a program. The suite mostly loses patience before, and then ends the worker.
TIMEOUT = datetime.timedelta(seconds=120)


class Team:
    """The processes of one program, as each of them sees it."""

    def __init__(self, ctx, rank, size, store):
        # All are on this machine, whose name may not resolve.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
        if ctx.cuda:
            torch.cuda.set_device(rank)
        dist.init_process_group(
            "nccl" if ctx.cuda else "gloo", store=dist.FileStore(store, size), rank=rank, world_size=size, timeout=TIMEOUT
        )
        # What is agreed goes by way of the host, and is no traffic between devices.
        self._host = dist.new_group(backend="gloo", timeout=TIMEOUT)
        ctx.rank, ctx.size, ctx.team = rank, size, self

    def agree(self, goes_on):
        """What the first says, in all."""
        said = torch.tensor([goes_on], dtype=torch.uint8)
        dist.broadcast(said, 0, group=self._host)
        return bool(said)

    @staticmethod
    def leave(ctx):
        ctx.sync()
        ctx.team = None
        dist.destroy_process_group()


@contextlib.contextmanager
def gathered(program, ctx, seed):
    """Within it there is a process for each device, and this one is the first."""
    size = torch.cuda.device_count() if ctx.cuda else program.devices
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as members:
        store = os.path.join(folder, "store")
        for rank in range(1, size):
            order = dict(family=program.family, rank=rank, size=size, store=store, device=ctx.device.type, tiny=ctx.tiny, seed=seed)
            members.enter_context(member(order))
        Team(ctx, 0, size, store)
        ctx.facts["processes"] = size
        try:
            yield
        except Skipped:
            # The others find the same lacking, and leave too. After another failure some may not, and leaving would wait.
            Team.leave(ctx)
            raise
        Team.leave(ctx)


@contextlib.contextmanager
def member(order):
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "programs.team"],
        cwd=pathlib.Path(__file__).resolve().parent.parent, stdin=subprocess.PIPE, text=True,
    )
    try:
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        yield
        if process.wait(TIMEOUT.total_seconds()) != 0:
            raise RuntimeError(f"process {order['rank']} failed")
    finally:
        process.kill()
        process.wait()
        process.stdin.close()


def main():
    order = json.loads(sys.stdin.readline())

    def end_with_the_worker():
        sys.stdin.read()
        os._exit(1)

    threading.Thread(target=end_with_the_worker, daemon=True).start()
    load()
    program = FAMILIES[order["family"]]
    device = f"cuda:{order['rank']}" if order["device"] == "cuda" else "cpu"
    if order["tiny"]:
        torch.set_num_threads(1)
    ctx = Context(device, order["tiny"], threading.Event(), lambda: None, seed=order["seed"])
    Team(ctx, order["rank"], order["size"], order["store"])
    with contextlib.suppress(Skipped):
        program.run(ctx, **(program.tiny if order["tiny"] else program.parameters))
    Team.leave(ctx)


if __name__ == "__main__":
    status = 1
    try:
        main()
        status = 0
    except Exception:
        traceback.print_exc()
    finally:
        # At once: while Python takes itself apart no thread hears that the worker ended, and libraries may wait for the others.
        os._exit(status)
