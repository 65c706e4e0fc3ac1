"""Inference that nobody waits for: whole batches at a time."""

import torch
import torch.nn.functional as F
from torch import nn

from . import program
from .models import Cache, Transformer, Unet, VisionTransformer, building, residual_network

TINY = dict(width=32, layers=2, heads=2, batch=2, length=16, vocabulary=64)


def reader(ctx, length, experts=0, causal=True, *, width, layers, heads, vocabulary):
    with building(ctx, ctx.dtype()):
        return Transformer(width, layers, heads, vocabulary, length, experts, causal).eval()


@program("inference_batch", "prefill", "prefill_d4096_l16", tiny=TINY, order=3,
         width=4096, layers=16, heads=32, batch=8, length=2048, vocabulary=32000)
def batch_prefill(ctx, batch, length, vocabulary, **p):
    """Long texts are scored one batch after another."""
    model = reader(ctx, length, vocabulary=vocabulary, **p)
    while ctx.running():
        with torch.inference_mode():
            model.head(model.hidden(ctx.tokens(batch, length, vocabulary=vocabulary))[:, -1]).max(-1)
        ctx.step()


@program("inference_batch", "decode", "decode_d4096_l16_b96", tiny=dict(TINY, prompt=4), order=9,
         width=4096, layers=16, heads=32, batch=96, length=640, prompt=128, vocabulary=32000)
def batch_generation(ctx, batch, length, prompt, vocabulary, **p):
    """Texts are written many at a time, until all are done; then come the next."""
    model = reader(ctx, length, vocabulary=vocabulary, **p)
    cache = Cache(ctx, model, batch, length)
    while ctx.running():
        token = model.prefill(ctx.tokens(batch, prompt, vocabulary=vocabulary), cache, slice(0, batch))[:, None]
        for place in range(prompt, length):
            if not ctx.running():
                return
            token = model.decode(token, cache, torch.full((batch, 1), place, device=ctx.device), place + 1)
            ctx.step()


@program("inference_batch", "embedding", "encoder_d1024_l24", tiny=TINY, order=15,
         width=1024, layers=24, heads=16, batch=256, length=256, vocabulary=32000)
def batch_embedding(ctx, batch, length, vocabulary, **p):
    """Texts come from the host and go back as vectors, to be searched."""
    model = reader(ctx, length, causal=False, vocabulary=vocabulary, **p)
    texts = torch.randint(0, vocabulary, (batch, length))
    texts = texts.pin_memory() if ctx.cuda else texts
    store = ctx.host(batch, p["width"])
    while ctx.running():
        with torch.inference_mode():
            x = model.hidden(texts.to(ctx.device, non_blocking=True)).mean(1)
            store.copy_(F.normalize(x.float(), dim=-1), non_blocking=True)
        ctx.step()


@program("inference_batch", "diffusion_sampling", "unet_c256_30steps", tiny=dict(channels=16, batch=2, size=16, steps=2), span=1.2, order=17,
         channels=256, batch=16, size=64, steps=30)
def diffusion_sampling(ctx, channels, batch, size, steps):
    """Pictures from noise in 30 passes, each guided by a pass without its text, and enlarged at the end."""
    with building(ctx, ctx.dtype()):
        model = Unet(channels).to(memory_format=torch.channels_last).eval()
        enlarge = nn.Sequential(
            nn.Conv2d(4, 128, 3, padding=1), nn.SiLU(), nn.Upsample(scale_factor=4), nn.Conv2d(128, 64, 3, padding=1),
            nn.SiLU(), nn.Upsample(scale_factor=2), nn.Conv2d(64, 3, 3, padding=1),
        ).eval()
    pictures = ctx.host(batch, 3, 8 * size, 8 * size, dtype=torch.uint8)
    while ctx.running():
        with torch.inference_mode():
            x = ctx.rand(batch, 4, size, size, dtype=ctx.dtype())
            for step in range(steps, 0, -1):
                if not ctx.running():
                    return
                t = torch.full((2 * batch,), 1000.0 * step / steps, device=ctx.device)
                with_text, without = model(torch.cat([x, x]), t).chunk(2)
                x = x - (without + 5 * (with_text - without)) / steps
                ctx.ready()
            pictures.copy_((enlarge(x).float().sigmoid() * 255).byte())
        ctx.step(warm=1)


@program("inference_batch", "vision", "vit_d1280_l24_b256", tiny=dict(width=32, layers=2, heads=2, batch=2, size=32), order=19,
         width=1280, layers=24, heads=16, batch=256, size=224)
def vision_batch(ctx, width, layers, heads, batch, size):
    """Pictures are classified, a large batch at a time."""
    with building(ctx, ctx.dtype()):
        model = VisionTransformer(width, layers, heads, size).eval()
    pictures = ctx.host(batch, 3, size, size, dtype=torch.uint8)
    while ctx.running():
        with torch.inference_mode():
            x = pictures.to(ctx.device, non_blocking=True).to(ctx.dtype()).div_(64).sub_(1)
            model(x).argmax(-1).cpu()
        ctx.step()


@program("inference_batch", "vision", "detector_640px", tiny=dict(batch=1, size=64, depths=(1, 1, 1, 1), width=8), order=46,
         batch=16, size=640, depths=(3, 4, 6, 3), width=64)
def object_detection(ctx, batch, size, depths, width):
    """A convolutional network over video frames, and the choice among its boxes."""
    with building(ctx, ctx.dtype()):
        net = residual_network(depths, width).to(memory_format=torch.channels_last).eval()
        body, head = net[:-3], nn.Conv2d(width * 32, 85, 1).to(memory_format=torch.channels_last)
    frames = ctx.host(batch, 3, size, size, dtype=torch.uint8)
    while ctx.running():
        with torch.inference_mode():
            x = frames.to(ctx.device, non_blocking=True).to(ctx.dtype()).div_(255)
            found = head(body(x.contiguous(memory_format=torch.channels_last))).flatten(2).float()
            score, index = found[:, 4:].amax(1).topk(min(100, found.shape[2]))
            box = found[:, :4].gather(2, index[:, None].expand(-1, 4, -1))
            apart = (box[:, :, :, None] - box[:, :, None, :]).abs().sum(1) > 0.5
            (score[:, None] * apart).amax(2).cpu()
        ctx.step()


@program("inference_batch", "speech", "asr_d1280_l16", tiny=dict(width=32, layers=2, heads=2, batch=1, seconds=1, words=2), span=1.2, order=21,
         width=1280, layers=16, heads=20, batch=32, seconds=30, words=64)
def speech_recognition(ctx, width, layers, heads, batch, seconds, words):
    """Recordings of speech become spectra, an encoder reads them, and a decoder writes the words one by one."""
    with building(ctx, ctx.dtype()):
        listen = nn.Sequential(nn.Conv1d(80, width, 3, padding=1), nn.GELU(), nn.Conv1d(width, width, 3, 2, 1), nn.GELU())
        encoder = Transformer(width, layers, heads, 16, 8, causal=False).eval()
        writer = Transformer(width, 4, heads, 16000, words + 8).eval()
        join = nn.Linear(width, width)
    cache = Cache(ctx, writer, batch, words + 8)
    bank = torch.rand(201, 80, device=ctx.device)
    window = torch.hann_window(400, device=ctx.device)
    sound = ctx.host(batch, 16000 * seconds)
    while ctx.running():
        with torch.inference_mode():
            wave = sound.to(ctx.device, non_blocking=True)
            spectrum = torch.stft(wave, 400, 160, window=window, return_complex=True).abs().square()
            mel = (spectrum.transpose(1, 2) @ bank).clamp(min=1e-9).log().transpose(1, 2)
            x = listen(mel.to(ctx.dtype())).transpose(1, 2)
            for block in encoder.blocks:
                x = block(x, causal=False)
            heard = join(encoder.last(x).mean(1, keepdim=True))
            token = writer.head(heard).argmax(-1)
            for place in range(words):
                if not ctx.running():
                    return
                token = writer.decode(token % 16000, cache, torch.full((batch, 1), place, device=ctx.device), words + 8)
            token.cpu()
        ctx.step(warm=1)


@program("inference_batch", "prefill", "moe_score_d2048_e16", tiny=dict(TINY, experts=4), order=48,
         width=2048, layers=8, heads=16, batch=16, length=1024, vocabulary=32000, experts=16)
def mixture_scoring(ctx, batch, length, vocabulary, **p):
    """A mixture of experts reads texts; nothing is learnt."""
    model = reader(ctx, length, vocabulary=vocabulary, **p)
    while ctx.running():
        with torch.inference_mode():
            model(ctx.tokens(batch, length, vocabulary=vocabulary)).max(-1)
        ctx.step()
