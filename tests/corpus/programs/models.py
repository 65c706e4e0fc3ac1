"""The networks that several programs share. Their weights are random numbers."""

import contextlib

import torch
import torch.nn.functional as F
from torch import nn


@contextlib.contextmanager
def building(ctx, dtype=torch.float32):
    """Within it, modules are made on the device and in the format."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with ctx.device:
            yield
    finally:
        torch.set_default_dtype(before)


class Cache:
    """Keys and values of all layers, for sequences of different lengths."""

    def __init__(self, ctx, model, batch, length):
        heads = model.heads
        shape = (len(model.blocks), batch, heads, length, model.width // heads)
        self.k = torch.zeros(shape, device=ctx.device, dtype=model.head.weight.dtype)
        self.v = torch.zeros_like(self.k)
        self.rows = torch.arange(batch, device=ctx.device)[:, None]
        self.places = torch.arange(length, device=ctx.device)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def split(self, x):
        b, n, _ = x.shape
        return (t.view(b, n, self.heads, -1) for t in self.qkv(x).chunk(3, -1))

    def forward(self, x, causal=True, keep=None):
        q, k, v = (t.transpose(1, 2) for t in self.split(x))
        if keep is not None:
            cache, layer, rows = keep
            cache.k[layer][rows, :, : k.shape[2]] = k.to(cache.k.dtype)
            cache.v[layer][rows, :, : v.shape[2]] = v.to(cache.v.dtype)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.out(y.transpose(1, 2).flatten(2))

    def decode(self, x, cache, layer, place, span):
        """Attends with `place`[b, n], where each token stands, to the first `span` places."""
        q, k, v = self.split(x)
        cache.k[layer][cache.rows, :, place] = k
        cache.v[layer][cache.rows, :, place] = v
        seen = cache.places[None, None, None, :span] <= place[:, None, :, None]
        y = F.scaled_dot_product_attention(
            q.transpose(1, 2), cache.k[layer][:, :, :span], cache.v[layer][:, :, :span], attn_mask=seen
        )
        return self.out(y.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.up = nn.Linear(width, inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x):
        return self.down(F.gelu(self.up(x)))


class Experts(nn.Module):
    """A mixture of experts: each token goes to two of them, and each expert takes so many and no more."""

    def __init__(self, width, inner, experts):
        super().__init__()
        self.gate = nn.Linear(width, experts, bias=False)
        self.up = nn.Parameter(torch.randn(experts, width, inner) * width**-0.5)
        self.down = nn.Parameter(torch.randn(experts, inner, width) * inner**-0.5)
        self.experts = experts

    def forward(self, x):
        flat = x.reshape(-1, x.shape[-1])
        tokens = flat.shape[0]
        room = max(1, tokens * 2 * 5 // (self.experts * 4))
        weight, expert = torch.topk(torch.softmax(self.gate(flat).float(), -1), 2)
        expert, order = torch.sort(expert.reshape(-1))
        first = torch.searchsorted(expert, torch.arange(self.experts, device=x.device))
        place = torch.arange(2 * tokens, device=x.device) - first[expert]
        # What an expert has no room for goes to a row that nobody reads.
        slot = torch.where(place < room, expert * room + place, self.experts * room)
        sent = flat.new_zeros(self.experts * room + 1, flat.shape[1]).index_copy(0, slot, flat[order // 2])
        sent = sent[:-1].view(self.experts, room, -1)
        done = torch.bmm(F.gelu(torch.bmm(sent, self.up.to(sent.dtype))), self.down.to(sent.dtype))
        done = F.pad(done.reshape(self.experts * room, -1), (0, 0, 0, 1))
        part = done[slot] * weight.reshape(-1)[order].to(done.dtype)[:, None]
        return torch.zeros_like(flat).index_add(0, order // 2, part.to(flat.dtype)).view(x.shape)


class Block(nn.Module):
    def __init__(self, width, heads, experts=0):
        super().__init__()
        self.before = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.between = nn.LayerNorm(width)
        self.mlp = Experts(width, 4 * width, experts) if experts else Mlp(width, 4 * width)

    def forward(self, x, causal=True, keep=None):
        x = x + self.attention(self.before(x), causal, keep)
        return x + self.mlp(self.between(x))

    def decode(self, x, cache, layer, place, span):
        x = x + self.attention.decode(self.before(x), cache, layer, place, span)
        return x + self.mlp(self.between(x))


class Transformer(nn.Module):
    """A language model; with `causal=False` an encoder."""

    def __init__(self, width, layers, heads, vocabulary, length, experts=0, causal=True):
        super().__init__()
        self.width, self.heads, self.causal, self.vocabulary = width, heads, causal, vocabulary
        self.embed = nn.Embedding(vocabulary, width)
        self.place = nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads, experts) for _ in range(layers))
        self.last = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        for weight in (self.embed.weight, self.place.weight):
            nn.init.normal_(weight, std=0.02)

    def hidden(self, tokens, cache=None, rows=None):
        x = self.embed(tokens) + self.place.weight[: tokens.shape[1]]
        for layer, block in enumerate(self.blocks):
            x = block(x, self.causal, None if cache is None else (cache, layer, rows))
        return self.last(x)

    def forward(self, tokens):
        return self.head(self.hidden(tokens))

    def loss(self, tokens):
        logits = self(tokens)
        return F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), tokens[:, 1:].flatten())

    @torch.inference_mode()
    def prefill(self, tokens, cache, rows):
        """Reads prompts into the rows of a cache, and gives the next token of each."""
        return self.head(self.hidden(tokens, cache, rows)[:, -1]).argmax(-1)

    @torch.inference_mode()
    def decode(self, tokens, cache, place, span):
        """Reads `tokens`[b, n] at the places `place`[b, n], and gives a next token for each."""
        # Whole blocks of places, as kernels of attention want them.
        span = min((span + 15) // 16 * 16, cache.places.numel())
        x = self.embed(tokens) + self.place(place)
        for layer, block in enumerate(self.blocks):
            x = block.decode(x, cache, layer, place, span)
        logits = self.head(self.last(x)).float()
        # Sampled, as a service does: the 40 best, by their probabilities.
        best, index = torch.topk(logits, min(40, logits.shape[-1]))
        drawn = torch.multinomial(torch.softmax(best, -1).flatten(0, 1), 1).view(*tokens.shape, 1)
        return index.gather(-1, drawn).squeeze(-1)


class Residual(nn.Module):
    def __init__(self, inner, outer, of_time):
        super().__init__()
        self.first = nn.GroupNorm(8, inner)
        self.one = nn.Conv2d(inner, outer, 3, padding=1)
        self.second = nn.GroupNorm(8, outer)
        self.two = nn.Conv2d(outer, outer, 3, padding=1)
        self.time = nn.Linear(of_time, outer)
        self.skip = nn.Conv2d(inner, outer, 1) if inner != outer else nn.Identity()

    def forward(self, x, t):
        h = self.one(F.silu(self.first(x))) + self.time(t)[:, :, None, None]
        return self.skip(x) + self.two(F.silu(self.second(h)))


class Unet(nn.Module):
    """Predicts the noise in an image, as diffusion models do."""

    def __init__(self, channels, image=4):
        super().__init__()
        c = channels
        self.time = nn.Sequential(nn.Linear(64, c), nn.SiLU(), nn.Linear(c, c))
        self.enter = nn.Conv2d(image, c, 3, padding=1)
        self.down = nn.ModuleList([Residual(c, c, c), Residual(c, 2 * c, c), Residual(2 * c, 4 * c, c)])
        self.mid = nn.ModuleList([Residual(4 * c, 4 * c, c), Residual(4 * c, 4 * c, c)])
        self.attention = Attention(4 * c, 8)
        self.up = nn.ModuleList([Residual(8 * c, 2 * c, c), Residual(4 * c, c, c), Residual(2 * c, c, c)])
        self.leave = nn.Conv2d(c, image, 3, padding=1)

    def forward(self, x, t):
        angles = t.to(x.dtype)[:, None] * torch.exp(-torch.arange(32, device=x.device, dtype=x.dtype) * 0.29)
        t = self.time(torch.cat([angles.sin(), angles.cos()], 1))
        x = self.enter(x)
        kept = []
        for block in self.down:
            x = block(x, t)
            kept.append(x)
            x = F.avg_pool2d(x, 2)
        x = self.mid[0](x, t)
        b, c, h, w = x.shape
        x = x + self.attention(x.flatten(2).transpose(1, 2), causal=False).transpose(1, 2).reshape(b, c, h, w)
        x = self.mid[1](x, t)
        for block in self.up:
            x = block(torch.cat([F.interpolate(x, scale_factor=2.0), kept.pop()], 1), t)
        return self.leave(x)


class Bottleneck(nn.Module):
    def __init__(self, inner, width, stride):
        super().__init__()
        outer = 4 * width
        self.body = nn.Sequential(
            nn.Conv2d(inner, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, outer, 1, bias=False),
            nn.BatchNorm2d(outer),
        )
        self.skip = (
            nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))
            if stride > 1 or inner != outer
            else nn.Identity()
        )

    def forward(self, x):
        return F.relu(self.body(x) + self.skip(x))


def residual_network(depths=(3, 4, 6, 3), width=64, classes=1000):
    """A convolutional network of the residual kind (He and others 2016)."""
    layers = [nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    inner = width
    for stage, depth in enumerate(depths):
        for place in range(depth):
            wide = width << stage
            layers.append(Bottleneck(inner, wide, 2 if place == 0 and stage > 0 else 1))
            inner = 4 * wide
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inner, classes))


class VisionTransformer(nn.Module):
    def __init__(self, width, layers, heads, image, patch=16, classes=1000):
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.place = nn.Parameter(torch.zeros(1, (image // patch) ** 2, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.last = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def embed(self, images):
        return self.patches(images).flatten(2).transpose(1, 2) + self.place

    def forward(self, images):
        x = self.embed(images)
        for block in self.blocks:
            x = block(x, causal=False)
        return self.head(self.last(x).mean(1))
