"""Inference for someone who waits: requests arrive when they do."""

import torch
import torch.nn.functional as F
from torch import nn

from . import program
from .context import Arrivals
from .inference import reader
from .models import Cache, building, residual_network

TINY = dict(width=32, layers=2, heads=2, places=2, length=32, prompt=8, answer=4, vocabulary=64, per_second=100)


class Service:
    """A service with continuous batching: requests take a place in the batch as soon as one is free."""

    def __init__(self, ctx, model, places, length, prompt, answer, per_second):
        self.ctx, self.model, self.prompt, self.answer, self.length = ctx, model, prompt, answer, length
        self.cache = Cache(ctx, model, places, length)
        self.token = torch.zeros(places, 1, dtype=torch.long, device=ctx.device)
        self.place = torch.zeros(places, 1, dtype=torch.long, device=ctx.device)
        self.left = [0] * places
        self.reached = [0] * places
        self.waiting = 0
        self.arrivals = Arrivals(ctx, per_second)

    def admit(self):
        self.waiting = min(64, self.waiting + self.arrivals.due(16))
        for slot, left in enumerate(self.left):
            if left > 0 or self.waiting == 0:
                continue
            self.waiting -= 1
            long = max(2, int(self.prompt * (0.25 + 0.75 * self.ctx.random.random())))
            asked = self.ctx.tokens(1, long, vocabulary=self.model.vocabulary)
            self.token[slot] = self.model.prefill(asked, self.cache, slice(slot, slot + 1))
            self.place[slot] = long
            self.reached[slot] = long
            self.left[slot] = 1 + min(int(self.ctx.random.expovariate(1 / self.answer)), self.length - long - 2)
            # One prompt between two tokens of the others, so that nobody waits long.
            return

    def busy(self):
        return any(left > 0 for left in self.left)

    def write(self):
        """One token for everyone."""
        span = max(r for r, left in zip(self.reached, self.left) if left > 0) + 1
        self.token = self.model.decode(self.token, self.cache, self.place.clamp(max=span - 1), span).clone()
        # The service looks at each token, to see whether an answer ends.
        self.token.cpu()
        for slot, left in enumerate(self.left):
            if left > 0:
                self.left[slot] -= 1
                self.reached[slot] += 1
        self.place += 1

    def serve(self):
        while self.ctx.running():
            self.admit()
            if self.busy():
                self.write()
                self.ctx.step()
            else:
                self.ctx.ready()
                self.arrivals.wait()
                if self.ctx.tiny:
                    self.ctx.step()


@program("inference_interactive", "decode", "chat_d4096_l20_4rps", tiny=TINY, span=1.3, order=2,
         width=4096, layers=20, heads=32, places=24, length=1024, prompt=512, answer=160, vocabulary=32000, per_second=4.0)
def chat_decode(ctx, vocabulary, width, layers, heads, length, **p):
    """A chat service under load, with continuous batching."""
    model = reader(ctx, length, width=width, layers=layers, heads=heads, vocabulary=vocabulary)
    Service(ctx, model, length=length, **p).serve()


@program("inference_interactive", "decode", "chat_d4096_l20_sparse", tiny=TINY, span=1.2, order=22,
         width=4096, layers=20, heads=32, places=8, length=1024, prompt=384, answer=90, vocabulary=32000, per_second=0.9)
def chat_sparse(ctx, vocabulary, width, layers, heads, length, **p):
    """The same service when few ask: bursts, and pauses between them."""
    model = reader(ctx, length, width=width, layers=layers, heads=heads, vocabulary=vocabulary)
    Service(ctx, model, length=length, **p).serve()


@program("inference_interactive", "completion", "code_d3072_l20_prefix", tiny=dict(TINY, per_second=100), order=24,
         width=3072, layers=20, heads=24, places=16, length=2048, prompt=1900, answer=12, vocabulary=32000, per_second=9.0)
def code_completion(ctx, vocabulary, width, layers, heads, length, **p):
    """Long texts before the cursor, few tokens after it: reading outweighs writing."""
    model = reader(ctx, length, width=width, layers=layers, heads=heads, vocabulary=vocabulary)
    Service(ctx, model, length=length, **p).serve()


@program("inference_interactive", "speculative_decode", "speculative_d4096_l20_d768_k5",
         tiny=dict(width=32, layers=2, heads=2, narrow=16, places=2, length=32, prompt=8, ahead=2, vocabulary=64), order=11,
         width=4096, layers=20, heads=32, narrow=768, places=8, length=768, prompt=256, ahead=5, vocabulary=32000)
def speculative_decode(ctx, width, layers, heads, narrow, places, length, prompt, ahead, vocabulary):
    """A small model writes five tokens ahead, a large one checks them at once."""
    large = reader(ctx, length, width=width, layers=layers, heads=heads, vocabulary=vocabulary)
    small = reader(ctx, length, width=narrow, layers=4, heads=4, vocabulary=vocabulary)
    kept = [Cache(ctx, model, places, length) for model in (large, small)]
    offsets = torch.arange(ahead + 1, device=ctx.device)[None]
    while ctx.running():
        asked = ctx.tokens(places, prompt, vocabulary=vocabulary)
        token = large.prefill(asked, kept[0], slice(0, places))[:, None]
        small.prefill(asked, kept[1], slice(0, places))
        reached = [prompt] * places
        while ctx.running() and max(reached) < length - ahead - 2:
            place = torch.tensor(reached, device=ctx.device)[:, None]
            span = max(reached) + ahead + 1
            guesses = [token]
            for step in range(ahead):
                guesses.append(small.decode(guesses[-1], kept[1], place + step, span))
            checked = large.decode(torch.cat(guesses, 1), kept[0], place + offsets, span)
            # Random weights agree never; some of the guesses are taken as real ones would be.
            taken = [1 + min(ahead, int(ctx.random.expovariate(0.4))) for _ in range(places)]
            chosen = torch.tensor(taken, device=ctx.device)[:, None] - 1
            token = checked.gather(1, chosen)
            token.cpu()
            reached = [r + t for r, t in zip(reached, taken)]
            ctx.step()


@program("inference_interactive", "vision", "classify_resnet50_120rps", tiny=dict(per_second=200, size=32, depths=(1, 1, 1, 1), width=8), order=26,
         per_second=120.0, size=224, depths=(3, 4, 6, 3), width=64)
def vision_service(ctx, per_second, size, depths, width):
    """Pictures are classified as they arrive, those that wait together in one batch."""
    with building(ctx, ctx.dtype()):
        model = residual_network(depths, width).to(memory_format=torch.channels_last).eval()
    pictures = ctx.host(32, 3, size, size, dtype=torch.uint8)
    arrivals = Arrivals(ctx, per_second)
    while ctx.running():
        count = arrivals.due(32)
        if count == 0:
            arrivals.wait()
            continue
        with torch.inference_mode():
            x = pictures[:count].to(ctx.device, non_blocking=True).to(ctx.dtype()).div_(64)
            model(x.contiguous(memory_format=torch.channels_last)).argmax(-1).cpu()
        ctx.step()


@program("inference_interactive", "ranking", "rank_26x500k_400rps", tiny=dict(tables=4, rows=100, width=16, per_second=400), order=28,
         tables=26, rows=500_000, width=64, per_second=400.0)
def ranking_service(ctx, tables, rows, width, per_second):
    """A few hundred things are ranked for each request: look-ups in large tables, then small dense layers."""
    with building(ctx, ctx.dtype()):
        table = nn.EmbeddingBag(tables * rows, width, mode="sum")
        top = nn.Sequential(nn.Linear(tables * width, 1024), nn.ReLU(), nn.Linear(1024, 256), nn.ReLU(), nn.Linear(256, 1))
    arrivals = Arrivals(ctx, per_second)
    while ctx.running():
        count = arrivals.due(16)
        if count == 0:
            arrivals.wait()
            continue
        with torch.inference_mode():
            bags = torch.randint(0, tables * rows, (count * 256 * tables, 2), device=ctx.device)
            top(table(bags).view(count * 256, -1)).view(count, 256).float().topk(10).indices.cpu()
        ctx.step()


@program("inference_interactive", "speech", "speech_out_d1024_stream", tiny=dict(width=16, layers=1, heads=2, places=2, per_second=100), order=49,
         width=1024, layers=12, heads=16, places=8, per_second=12.0)
def speech_synthesis(ctx, width, layers, heads, places, per_second):
    """Speech is made in pieces of a fraction of a second, each when it is due, by a model and a convolutional vocoder."""
    with building(ctx, ctx.dtype()):
        vocoder = nn.Sequential(*[
            m for i in range(4)
            for m in (nn.ConvTranspose1d(max(8, width >> i), max(8, width >> (i + 1)), 8, 4, 2), nn.LeakyReLU(0.1),
                      nn.Conv1d(max(8, width >> (i + 1)), max(8, width >> (i + 1)), 7, padding=3), nn.LeakyReLU(0.1))
        ])
    model = reader(ctx, 64, width=width, layers=layers, heads=heads, vocabulary=1024)
    cache = Cache(ctx, model, places, 64)
    arrivals = Arrivals(ctx, per_second)
    while ctx.running():
        if arrivals.due(1) == 0:
            arrivals.wait()
            continue
        with torch.inference_mode():
            token = torch.zeros(places, 1, dtype=torch.long, device=ctx.device)
            for place in range(2 if ctx.tiny else 25):
                token = model.decode(token, cache, torch.full((places, 1), place, device=ctx.device), place + 1)
            spectrum = ctx.rand(places, width, 64, dtype=ctx.dtype())
            F.softsign(vocoder(spectrum)).float().cpu()
        ctx.step()
