"""The process that runs programs: one for many families, so that PyTorch is loaded once.

It is told what to do by lines of JSON on standard input (`{"run": FAMILY, …}`, `{"stop": true}`) and answers with lines of
JSON on standard output: `up`, `ready`, `done`, `skipped`, `failed`. What a program prints goes to standard error.
"""

import contextlib
import gc
import json
import os
import sys
import threading
import time
import traceback


def main():
    device, tiny = sys.argv[1], sys.argv[2] == "tiny"
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    lock = threading.Lock()

    def say(event, **more):
        with lock:
            answers.write(json.dumps({"event": event, **more}) + "\n")
            answers.flush()

    import torch

    import programs
    from programs.context import Context
    from programs.team import gathered

    families = {p.family: p for p in programs.load()}
    listed = [programs.described(p) for p in families.values()]
    # Without a GPU, two processes share the processor.
    name, devices, libraries = "cpu", 2, {"torch": torch.__version__}
    if device == "cuda":
        devices = torch.cuda.device_count()
        name = torch.cuda.get_device_name()
        libraries["cuda"] = torch.version.cuda
        # The libraries behind matrix products are loaded here, not in the first program's time.
        a = torch.randn(256, 256, device=device, dtype=torch.bfloat16, requires_grad=True)
        (a @ a).sum().backward()
        torch.nn.functional.conv2d(torch.randn(1, 8, 8, 8, device=device), torch.randn(8, 8, 3, 3, device=device))
        torch.cuda.synchronize()
    elif tiny:
        torch.set_num_threads(min(2, os.cpu_count() or 1))
    stopped, orders, waiting = threading.Event(), [], threading.Condition()

    def listen():
        for line in sys.stdin:
            order = json.loads(line)
            if order.get("stop"):
                stopped.set()
                continue
            with waiting:
                orders.append(order)
                waiting.notify()
        stopped.set()
        with waiting:
            orders.append(None)
            waiting.notify()

    threading.Thread(target=listen, daemon=True).start()
    say("up", device=name, devices=devices, libraries=libraries, families=listed)
    while True:
        with waiting:
            while not orders:
                waiting.wait()
            order = orders.pop(0)
        if order is None:
            return
        stopped.clear()
        program = families[order["run"]]
        begun = time.monotonic()
        tell = lambda: say("ready", after_s=round(time.monotonic() - begun, 3))
        seed = order.get("seed", 0)
        ctx = Context(
            device, tiny, stopped, tell, seed=seed, most_steps=order.get("most_steps"), may_set_clocks=order.get("set_clocks", False)
        )
        failure = lacking = None
        try:
            with gathered(program, ctx, seed) if program.devices > 1 else contextlib.nullcontext():
                program.run(ctx, **(program.tiny if tiny else program.parameters))
            ctx.sync()
        except programs.Skipped as reason:
            lacking = str(reason)
        except Exception as error:
            traceback.print_exc()
            failure = f"{type(error).__name__}: {error}"[:500]
            # What a frame held must go before the next program begins.
            traceback.clear_frames(error.__traceback__)
        facts = {"steps": ctx.steps, "ran_s": round(time.monotonic() - begun, 3), **ctx.facts}
        del ctx
        gc.collect()
        if device == "cuda" and failure is None:
            facts["most_memory_mib"] = torch.cuda.max_memory_allocated() >> 20
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        elif device == "cuda" and "CUDA error" not in failure:
            torch.cuda.empty_cache()
        if lacking is not None:
            say("skipped", reason=lacking)
            continue
        if failure is None:
            say("done", **facts)
            continue
        # A context of the device, or a group of processes, that failed is of no use any more; whoever started this process
        # starts another.
        ends = "CUDA error" in failure or program.devices > 1
        say("failed", error=failure, ends=ends, **facts)
        if ends:
            answers.flush()
            os._exit(3)


if __name__ == "__main__":
    main()
