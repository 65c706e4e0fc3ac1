"""What a program is given: a device, random numbers, and when to stop."""

import random
import time

import torch


class Context:
    """The surroundings of one run.

    `stopped` is an event that is set from outside; `tell_ready` is called once, when the program does its steady work.
    A program on several devices has a context in each of its processes, which differ in `rank`; `size` says how many.
    """

    # Steps that are let run ahead on the device, so that it never waits and a stop is heard soon.
    AHEAD = 2

    def __init__(self, device, tiny, stopped, tell_ready, seed=0, most_steps=None, may_set_clocks=False):
        self.device = torch.device(device)
        self.tiny = tiny
        self.may_set_clocks = may_set_clocks
        self.rank, self.size, self.team = 0, 1, None
        self.steps = 0
        self.facts = {}
        self.random = random.Random(seed)
        self._seed = seed
        self._stopped = stopped
        self._tell_ready = tell_ready
        self._ready = False
        self._most = most_steps
        self._marks = []
        torch.manual_seed(seed)

    @property
    def cuda(self):
        return self.device.type == "cuda"

    def running(self):
        goes_on = not (self._stopped.is_set() or (self._most is not None and self.steps >= self._most))
        # Where one process of several stopped by itself, the others would wait for it without end.
        return goes_on if self.team is None else self.team.agree(goes_on)

    def apart(self):
        """From here on each process of several draws numbers of its own."""
        torch.manual_seed(self._seed + 1000 * self.rank)
        self.random.seed(self._seed + 1000 * self.rank)

    def ready(self):
        """Says that the steady work has begun. `step` says it too."""
        if not self._ready:
            self.sync()
            self._ready = True
            self._tell_ready()

    def step(self, warm=2):
        """Ends a unit of work. Waits until the device is not more than some units behind."""
        self.steps += 1
        if self.steps >= warm:
            self.ready()
        if self.cuda:
            mark = torch.cuda.Event()
            mark.record()
            self._marks.append(mark)
            if len(self._marks) > self.AHEAD:
                self._marks.pop(0).synchronize()

    def sync(self):
        if self.cuda:
            torch.cuda.synchronize()

    def sleep(self, seconds):
        """Sleeps, but not past the stop."""
        if self.tiny:
            seconds = min(seconds, 0.01)
        self._stopped.wait(seconds)

    def now(self):
        return time.monotonic()

    def dtype(self):
        """The number format of matrix work."""
        return torch.bfloat16

    def amp(self):
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def rand(self, *shape, dtype=torch.float32):
        return torch.randn(*shape, device=self.device, dtype=torch.float32).to(dtype)

    def tokens(self, *shape, vocabulary):
        return torch.randint(0, vocabulary, shape, device=self.device)

    def host(self, *shape, dtype=torch.float32):
        """Memory of the host from which the device can copy by itself."""
        memory = torch.empty(*shape, dtype=dtype, pin_memory=self.cuda)
        # Drawn on the device, which does it sooner.
        if dtype.is_floating_point:
            return memory.copy_(torch.randn(*shape, device=self.device, dtype=dtype))
        return memory.copy_(torch.randint(0, 127, shape, device=self.device, dtype=dtype))

    def adamw(self, parameters, lr=1e-4):
        return torch.optim.AdamW([p for p in parameters if p.requires_grad], lr=lr, fused=self.cuda)


class Pace:
    """Holds a loop to a rate, as a display or a stream does."""

    def __init__(self, ctx, per_second):
        self.ctx = ctx
        self.period = 1.0 / per_second
        self.due = ctx.now()

    def wait(self):
        self.due += self.period
        left = self.due - self.ctx.now()
        if left > 0:
            self.ctx.sleep(left)
        elif left < -1.0:
            self.due = self.ctx.now()


class Arrivals:
    """Requests that arrive as a Poisson process."""

    def __init__(self, ctx, per_second):
        self.ctx = ctx
        self.rate = per_second
        self.next = ctx.now()

    def due(self, most):
        """How many have arrived since the last call, at most `most`."""
        count = 0
        while count < most and self.next <= self.ctx.now():
            self.next += self.ctx.random.expovariate(self.rate)
            count += 1
        if self.ctx.tiny and count == 0:
            return 1
        return count

    def wait(self):
        """Waits for the next."""
        self.ctx.sleep(max(0.0, self.next - self.ctx.now()))
