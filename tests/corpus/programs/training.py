"""Training from scratch: language models, images, graphs, recommendations, speech, and policies."""

import torch
import torch.nn.functional as F
from torch import nn

from . import program
from .models import Block, Cache, Residual, Transformer, Unet, VisionTransformer, building, residual_network

TINY_LM = dict(width=32, layers=2, heads=2, batch=2, length=16, vocabulary=64)


def language_model(ctx, width, layers, heads, batch, length, vocabulary, experts=0):
    """A model, its optimiser, and a source of batches."""
    with building(ctx):
        model = Transformer(width, layers, heads, vocabulary, length, experts)
    return model, ctx.adamw(model.parameters()), lambda: ctx.tokens(batch, length, vocabulary=vocabulary)


def trainer(ctx, model, optimiser, batch, accumulate=1):
    """A function that does one whole step of training, and tells of each micro-batch if it is asked to."""

    def step(after=lambda: None):
        for _ in range(accumulate):
            with ctx.amp():
                loss = model.loss(batch()) / accumulate
            loss.backward()
            after()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


@program("training", "pretraining", "transformer_d2048_l12", tiny=TINY_LM, order=1,
         width=2048, layers=12, heads=16, batch=8, length=1024, vocabulary=32000)
def dense_transformer(ctx, **p):
    """Pre-training of a dense language model in mixed precision."""
    step = trainer(ctx, *language_model(ctx, **p))
    while ctx.running():
        step()
        ctx.step()


@program("training", "gradient_accumulation", "transformer_d1536_l12_a16", tiny=dict(TINY_LM, accumulate=2), span=1.3, order=8,
         width=1536, layers=12, heads=12, batch=8, length=1024, vocabulary=32000, accumulate=16)
def accumulated_transformer(ctx, accumulate, **p):
    """Pre-training whose optimiser steps after 16 micro-batches."""
    step = trainer(ctx, *language_model(ctx, **p), accumulate=accumulate)
    while ctx.running():
        step(lambda: ctx.ready() if ctx.cuda else None)
        ctx.step(warm=1)


@program("training", "mixture_of_experts", "moe_d1024_l8_e16", tiny=dict(TINY_LM, experts=4), order=12,
         width=1024, layers=8, heads=16, batch=16, length=1024, vocabulary=32000, experts=16)
def mixture_of_experts(ctx, **p):
    """Pre-training of a mixture of experts, two of sixteen for each token."""
    step = trainer(ctx, *language_model(ctx, **p))
    while ctx.running():
        step()
        ctx.step()


@program("training", "offload", "transformer_d2048_l6_on_host", tiny=dict(width=32, layers=2, heads=2, batch=2, length=16, vocabulary=64),
         span=1.2, order=14, width=2048, layers=6, heads=16, batch=16, length=1024, vocabulary=16000)
def offloaded_transformer(ctx, width, layers, heads, batch, length, vocabulary):
    """Weights, gradients and optimiser live in the host's memory, as with fully sharded training that offloads: each layer
    is fetched for its forward and its backward pass, and the host does the update."""
    names, resident = None, []
    with building(ctx, ctx.dtype()):
        block = Block(width, heads)
        embed = nn.Embedding(vocabulary, width)
        head = nn.Linear(width, vocabulary, bias=False)
        nn.init.normal_(embed.weight, std=0.02)
    names = [name for name, _ in block.named_parameters()]
    for _ in range(layers):
        weights = [ctx.host(*p.shape, dtype=p.dtype) for p in block.parameters()]
        for weight, like in zip(weights, block.parameters()):
            # Norms begin at one, matrices with the spread of their width.
            weight.fill_(1.0) if like.dim() == 1 else weight.mul_(width**-0.5)
        grads = [torch.zeros_like(w, pin_memory=ctx.cuda) for w in weights]
        momenta = [torch.zeros_like(w) for w in weights]
        resident.append((weights, grads, momenta))
    here = list(embed.parameters()) + list(head.parameters())
    optimiser = torch.optim.SGD(here, lr=1e-3)

    def fetched(weights, grad):
        return {n: w.to(ctx.device, non_blocking=True, copy=True).requires_grad_(grad) for n, w in zip(names, weights)}

    while ctx.running():
        tokens = ctx.tokens(batch, length, vocabulary=vocabulary)
        x = embed(tokens)
        inputs = []
        with torch.no_grad():
            h = x
            for weights, _, _ in resident:
                inputs.append(h)
                h = torch.func.functional_call(block, fetched(weights, False), (h,))
        h = h.detach().requires_grad_()
        F.cross_entropy(head(h)[:, :-1].flatten(0, 1).float(), tokens[:, 1:].flatten()).backward()
        gradient = h.grad
        for (weights, grads, _), entered in zip(reversed(resident), reversed(inputs)):
            entered = entered.detach().requires_grad_()
            layer = fetched(weights, True)
            torch.func.functional_call(block, layer, (entered,)).backward(gradient)
            gradient = entered.grad
            for kept, name in zip(grads, names):
                kept.copy_(layer[name].grad, non_blocking=True)
        x.backward(gradient)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        ctx.sync()
        for weights, grads, momenta in resident:
            torch._foreach_mul_(momenta, 0.9)
            torch._foreach_add_(momenta, grads)
            torch._foreach_add_(weights, momenta, alpha=-1e-4)
        ctx.step(warm=1)


@program("training", "diffusion", "unet_c192_64px", tiny=dict(channels=16, batch=2, size=16), order=16,
         channels=192, batch=48, size=64)
def diffusion_training(ctx, channels, batch, size):
    """A diffusion model learns to predict noise; a moving average of its weights is kept."""
    with building(ctx):
        model = Unet(channels).to(memory_format=torch.channels_last)
    optimiser = ctx.adamw(model.parameters())
    average = [p.detach().clone() for p in model.parameters()]
    while ctx.running():
        image = ctx.rand(batch, 4, size, size).contiguous(memory_format=torch.channels_last)
        noise = torch.randn_like(image)
        t = torch.rand(batch, device=ctx.device)
        noisy = image * (1 - t)[:, None, None, None] + noise * t[:, None, None, None]
        with ctx.amp():
            loss = F.mse_loss(model(noisy, 1000 * t).float(), noise)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        torch._foreach_lerp_(average, [p.detach() for p in model.parameters()], 1e-3)
        ctx.step()


@program("training", "convolutional", "resnet50_b192", tiny=dict(batch=2, size=32, depths=(1, 1, 1, 1), width=8), order=4,
         batch=192, size=224, depths=(3, 4, 6, 3), width=64)
def convolutional_training(ctx, batch, size, depths, width):
    """Image classification; pictures come from the host and are augmented on the device."""
    with building(ctx):
        model = residual_network(depths, width).to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    pictures = [ctx.host(batch, 3, size, size, dtype=torch.uint8) for _ in range(2)]
    while ctx.running():
        x = pictures[ctx.steps % 2].to(ctx.device, non_blocking=True)
        x = x.to(memory_format=torch.channels_last).float().div_(64).sub_(1)
        x = x.flip(3) if ctx.random.random() < 0.5 else x
        x = torch.roll(x, ctx.random.randrange(8), 2)
        labels = torch.randint(0, 1000, (batch,), device=ctx.device)
        with ctx.amp():
            loss = F.cross_entropy(model(x).float(), labels)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        ctx.step()


@program("training", "self_supervised", "masked_vit_d1024_l12", tiny=dict(width=32, layers=2, heads=2, batch=2, size=32), order=45,
         width=1024, layers=12, heads=16, batch=192, size=224)
def masked_image_training(ctx, width, layers, heads, batch, size):
    """A vision transformer sees a quarter of each picture and predicts the rest."""
    with building(ctx):
        model = VisionTransformer(width, layers, heads, size)
        decoder = nn.Sequential(nn.Linear(width, width // 2), Block(width // 2, heads // 2), nn.Linear(width // 2, 768))
        mask = nn.Parameter(torch.zeros(1, 1, width))
    optimiser = ctx.adamw([*model.parameters(), *decoder.parameters(), mask])
    patches = model.place.shape[1]
    while ctx.running():
        images = ctx.rand(batch, 3, size, size)
        with ctx.amp():
            whole = model.embed(images)
            order = torch.rand(batch, patches, device=ctx.device).argsort(1)
            seen = order[:, : patches // 4, None].expand(-1, -1, width)
            x = whole.gather(1, seen)
            for block in model.blocks:
                x = block(x, causal=False)
            filled = mask.to(x.dtype).expand(batch, patches, width).scatter(1, seen, x)
            loss = F.mse_loss(decoder(filled).float(), F.unfold(images, 16, stride=16).transpose(1, 2))
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        ctx.step()


@program("training", "graph", "sage_200k_2m", tiny=dict(nodes=100, edges=400, width=16, layers=2), order=18,
         nodes=200_000, edges=2_000_000, width=256, layers=3)
def graph_training(ctx, nodes, edges, width, layers):
    """A graph network over a random graph, all of it in each step."""
    with building(ctx):
        model = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(layers))
        head = nn.Linear(width, 40)
    optimiser = ctx.adamw([*model.parameters(), *head.parameters()])
    source = torch.randint(0, nodes, (edges,), device=ctx.device)
    target = torch.randint(0, nodes, (edges,), device=ctx.device).sort().values
    degree = torch.bincount(target, minlength=nodes).clamp(min=1)[:, None]
    features = ctx.rand(nodes, width)
    labels = torch.randint(0, 40, (nodes,), device=ctx.device)
    while ctx.running():
        h = features
        for layer in model:
            near = torch.zeros_like(h).index_add(0, target, h[source]) / degree
            h = F.dropout(F.relu(layer(torch.cat([h, near], 1))), 0.3)
        F.cross_entropy(head(h), labels).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        ctx.step()


@program("training", "recommender", "dlrm_26x500k", tiny=dict(tables=4, rows=100, width=16, batch=8), order=20,
         tables=26, rows=500_000, width=64, batch=16384)
def recommender_training(ctx, tables, rows, width, batch):
    """Click prediction: large tables of embeddings with sparse gradients, small dense layers, data from the host."""
    def layers(*widths):
        made = [m for a, b in zip(widths, widths[1:]) for m in (nn.Linear(a, b), nn.ReLU())]
        return nn.Sequential(*made[:-1])

    pairs = torch.triu_indices(tables + 1, tables + 1, 1, device=ctx.device)
    with building(ctx):
        table = nn.EmbeddingBag(tables * rows, width, mode="sum", sparse=True)
        bottom = layers(13, 512, 256, width)
        top = layers(width + pairs.shape[1], 1024, 1024, 512, 1)
    dense = ctx.adamw([*bottom.parameters(), *top.parameters()])
    sparse = torch.optim.SGD(table.parameters(), lr=0.01)
    clicks = [(torch.rand(batch, tables, 4) ** 3 * rows).long() for _ in range(2)]
    clicks = [c.pin_memory() if ctx.cuda else c for c in clicks]
    first = torch.arange(tables, device=ctx.device)[None, :, None] * rows
    while ctx.running():
        bags = (clicks[ctx.steps % 2].to(ctx.device, non_blocking=True) + first).view(-1, 4)
        numbers = ctx.rand(batch, 13)
        low = bottom(numbers)
        x = torch.cat([low[:, None], table(bags).view(batch, tables, width)], 1)
        crossed = torch.bmm(x, x.transpose(1, 2))[:, pairs[0], pairs[1]]
        out = top(torch.cat([low, crossed], 1)).squeeze(1)
        F.binary_cross_entropy_with_logits(out, torch.rand(batch, device=ctx.device).round()).backward()
        for optimiser in (dense, sparse):
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        ctx.step()


@program("training", "recurrent", "lstm_d1024_l4", tiny=dict(width=16, layers=1, batch=2, length=20), order=32,
         width=1024, layers=4, batch=64, length=400)
def recurrent_training(ctx, width, layers, batch, length):
    """Speech to text with a recurrent network and the CTC loss."""
    with building(ctx):
        model = nn.LSTM(80, width, layers, batch_first=True)
        head = nn.Linear(width, 64)
    optimiser = ctx.adamw([*model.parameters(), *head.parameters()])
    lengths = torch.full((batch,), length, dtype=torch.long)
    wanted = torch.full((batch,), length // 8, dtype=torch.long)
    while ctx.running():
        heard = ctx.rand(batch, length, 80)
        text = torch.randint(1, 64, (batch, length // 8), device=ctx.device)
        logits = head(model(heard)[0]).log_softmax(-1).transpose(0, 1)
        F.ctc_loss(logits, text, lengths, wanted, zero_infinity=True).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        ctx.step()


@program("training", "reinforcement", "policy_d1024_l12_g48", tiny=dict(width=32, layers=2, heads=2, batch=2, prompt=8, answer=4, updates=1, vocabulary=64),
         span=1.6, order=10, width=1024, layers=12, heads=16, batch=96, prompt=128, answer=256, updates=6, vocabulary=32000)
def reinforcement_learning(ctx, width, layers, heads, batch, prompt, answer, updates, vocabulary):
    """A policy writes answers, a reference judges them, and the policy is updated, in turn."""
    length = prompt + answer
    with building(ctx):
        policy = Transformer(width, layers, heads, vocabulary, length)
    with building(ctx, ctx.dtype()):
        writer = Transformer(width, layers, heads, vocabulary, length)
        reference = Transformer(width, layers, heads, vocabulary, length)
    optimiser = ctx.adamw(policy.parameters(), lr=1e-5)
    cache = Cache(ctx, writer, batch, length)

    def chances(model, text):
        logits = model(text)[:, prompt - 1 : -1].float()
        return logits.log_softmax(-1).gather(-1, text[:, prompt:, None]).squeeze(-1)

    while ctx.running():
        with torch.no_grad():
            for new, old in zip(writer.parameters(), policy.parameters()):
                new.copy_(old)
        asked = ctx.tokens(batch, prompt, vocabulary=vocabulary)
        written = [writer.prefill(asked, cache, slice(0, batch))]
        for place in range(prompt, length - 1):
            if not ctx.running():
                return
            at = torch.full((batch, 1), place, device=ctx.device)
            written.append(writer.decode(written[-1][:, None], cache, at, length)[:, 0])
        text = torch.cat([asked, torch.stack(written, 1)], 1).clone()
        with torch.no_grad():
            before = chances(reference, text)
        reward = torch.randn(batch, 1, device=ctx.device)
        ctx.ready()
        for part in text.chunk(updates):
            rows = slice(0, part.shape[0])
            with ctx.amp():
                now = chances(policy, part)
            ratio = (now - now.detach()).exp()
            loss = -(ratio * reward[rows]).mean() + 0.05 * (now - before[rows]).square().mean()
            loss.backward()
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        ctx.step(warm=1)


@program("training", "adversarial", "gan_c64_64px", tiny=dict(channels=8, batch=2), order=46, channels=96, batch=128)
def adversarial_training(ctx, channels, batch):
    """Two networks learn against each other, so that each step has two backward passes and two updates."""
    c = channels
    with building(ctx):
        writer = nn.Sequential(
            nn.ConvTranspose2d(128, 8 * c, 4), nn.BatchNorm2d(8 * c), nn.ReLU(),
            nn.ConvTranspose2d(8 * c, 4 * c, 4, 2, 1), nn.BatchNorm2d(4 * c), nn.ReLU(),
            nn.ConvTranspose2d(4 * c, 2 * c, 4, 2, 1), nn.BatchNorm2d(2 * c), nn.ReLU(),
            nn.ConvTranspose2d(2 * c, c, 4, 2, 1), nn.BatchNorm2d(c), nn.ReLU(),
            nn.ConvTranspose2d(c, 3, 4, 2, 1), nn.Tanh(),
        )
        critic = nn.Sequential(
            nn.Conv2d(3, c, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(c, 2 * c, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(2 * c, 4 * c, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(4 * c, 8 * c, 4, 2, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(8 * c, 1, 4), nn.Flatten(),
        )
    first, second = ctx.adamw(writer.parameters()), ctx.adamw(critic.parameters())
    while ctx.running():
        with ctx.amp():
            made = writer(ctx.rand(batch, 128, 1, 1))
            real = critic(ctx.rand(batch, 3, 64, 64))
            loss = F.softplus(critic(made.detach())).mean() + F.softplus(-real).mean()
        loss.backward()
        second.step()
        second.zero_grad(set_to_none=True)
        with ctx.amp():
            loss = F.softplus(-critic(made)).mean()
        loss.backward()
        first.step()
        first.zero_grad(set_to_none=True)
        second.zero_grad(set_to_none=True)
        ctx.step()


@program("training", "protein_like", "pair_c128_n192", tiny=dict(channels=16, length=16, layers=1), order=50,
         channels=128, length=192, layers=6)
def pair_training(ctx, channels, length, layers):
    """A network over pairs of residues, as structure predictors have: triangle products and wide residual blocks."""
    with building(ctx):
        blocks = nn.ModuleList(Residual(channels, channels, channels) for _ in range(layers))
        sides = nn.ModuleList(nn.Linear(channels, 3 * channels) for _ in range(layers))
        head = nn.Linear(channels, 64)
    parameters = [*blocks.parameters(), *sides.parameters(), *head.parameters()]
    optimiser = ctx.adamw(parameters)
    time = torch.zeros(4, channels, device=ctx.device)
    while ctx.running():
        x = ctx.rand(4, channels, length, length)
        with ctx.amp():
            for block, side in zip(blocks, sides):
                a, b, gate = side(x.permute(0, 2, 3, 1)).chunk(3, -1)
                triangle = torch.einsum("bikc,bjkc->bijc", a, b) * gate.sigmoid() / length
                x = block(x + triangle.permute(0, 3, 1, 2).to(x.dtype), time)
            loss = F.cross_entropy(
                head(x.permute(0, 2, 3, 1)).flatten(0, 2).float(),
                torch.randint(0, 64, (4 * length * length,), device=ctx.device),
            )
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        ctx.step()
