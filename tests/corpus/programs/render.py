"""Pictures: rendering and video."""

import torch
import torch.nn.functional as F

from . import program
from .context import Pace
from .kernels import kernel

MARCH = r"""
__device__ float field(float x, float y, float z, float t) {
    float px = x, py = y, pz = z, r = 0.f, scale = 1.f;
    for (int i = 0; i < 8; ++i) {
        r = sqrtf(px * px + py * py + pz * pz);
        if (r > 4.f) break;
        float theta = acosf(pz / r) * (8.f + sinf(t)), phi = atan2f(py, px) * 8.f, power = powf(r, 7.f);
        scale = power * 8.f * scale + 1.f;
        power *= r;
        px = power * sinf(theta) * cosf(phi) + x; py = power * sinf(theta) * sinf(phi) + y; pz = power * cosf(theta) + z;
    }
    return 0.5f * logf(r) * r / scale;
}
extern "C" __global__ void march(unsigned* out, int width, int height, int frame, int samples) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height) return;
    float light = 0.f, t = frame * 0.02f;
    for (int s = 0; s < samples; ++s) {
        float u = (x + 0.37f * s) / width * 2.f - 1.f, v = (y + 0.61f * s) / height * 2.f - 1.f, z = -2.5f, d = 0.f;
        for (int i = 0; i < 48; ++i) {
            float step = field(u * d * 0.6f, v * d * 0.6f, z + d, t);
            d += step;
            if (step < 0.002f || d > 5.f) break;
        }
        light += expf(-0.4f * d);
    }
    unsigned grey = (unsigned)(255.f * light / samples);
    out[y * width + x] = grey | grey << 8 | grey << 16 | 0xff000000u;
}
"""


def _spheres(ctx, out, width, height, frame):
    """What is drawn without a kernel: rays against spheres, as whole tensors."""
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n, device=ctx.device) for n in (height, width)), indexing="ij")
    light = torch.zeros_like(x)
    for i in range(16):
        apart = (x - 0.1 * i + 0.01 * frame).square() + (y - 0.05 * i).square()
        light = torch.maximum(light, torch.sqrt((0.2 - apart).clamp(min=0)))
    out.copy_((255 * light).int().view(-1))


@program("render_video", "render", "fractal_1080p_60fps", tiny=dict(width=32, height=16, samples=1), order=41,
         width=1920, height=1080, samples=1, per_second=60.0)
def interactive_render(ctx, width, height, samples, per_second):
    """A scene is drawn 60 times a second, and each picture goes to the host."""
    out = torch.zeros(width * height, dtype=torch.int32, device=ctx.device)
    shown = ctx.host(width * height, dtype=torch.int32)
    grid = ((width + 15) // 16, (height + 15) // 16, 1)
    run = kernel(ctx, MARCH, "march", out, width, height, 0, samples, grid=grid, block=(16, 16, 1))
    pace = Pace(ctx, per_second)
    while ctx.running():
        _spheres(ctx, out, width, height, ctx.steps) if run is None else run(out, width, height, ctx.steps, samples)
        shown.copy_(out, non_blocking=True)
        ctx.sync()
        ctx.step()
        pace.wait()


@program("render_video", "render", "fractal_2160p_offline", tiny=dict(width=32, height=16, samples=1), order=50,
         width=3840, height=2160, samples=8)
def offline_render(ctx, width, height, samples):
    """Large pictures with many rays for each point, one after another, as fast as they come."""
    out = torch.zeros(width * height, dtype=torch.int32, device=ctx.device)
    grid = ((width + 15) // 16, (height + 15) // 16, 1)
    run = kernel(ctx, MARCH, "march", out, width, height, 0, 1, grid=grid, block=(16, 16, 1))
    while ctx.running():
        _spheres(ctx, out, width, height, ctx.steps) if run is None else run(out, width, height, ctx.steps, samples)
        out.cpu()
        ctx.step()


@program("render_video", "video", "filter_2160p_60fps", tiny=dict(width=64, height=32), order=42,
         width=3840, height=2160, per_second=60.0)
def video_filter(ctx, width, height, per_second):
    """Frames of a film are read, searched for motion, smoothed, made smaller, and written, at the rate of the film."""
    frame = ctx.host(1, 3, height, width, dtype=torch.uint8)
    back = ctx.host(1, 3, height // 2, width // 2, dtype=torch.uint8)
    blur = torch.ones(3, 1, 5, 5, device=ctx.device) / 25
    before = torch.zeros(1, 1, height // 4, width // 4, device=ctx.device)
    pace = Pace(ctx, per_second)
    while ctx.running():
        x = frame.to(ctx.device, non_blocking=True).float()
        grey = F.avg_pool2d(x.mean(1, keepdim=True), 4)
        costs = [
            F.avg_pool2d((torch.roll(before, (dy, dx), (2, 3)) - grey).abs(), 8)
            for dy in range(-3, 4, 2) for dx in range(-3, 4, 2)
        ]
        motion = torch.cat(costs, 1).argmin(1)
        before = grey
        x = F.conv2d(x, blur, padding=2, groups=3) + 0.001 * motion.float().mean()
        small = F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=False)
        back.copy_(small.clamp(0, 255).byte(), non_blocking=True)
        ctx.sync()
        ctx.step()
        pace.wait()


@program("render_video", "video", "transform_coding_1080p", tiny=dict(width=64, height=32, batch=1), order=51,
         width=1920, height=1088, batch=16)
def video_transcode(ctx, width, height, batch):
    """Frames are cut into blocks, transformed, made coarser, and put together again, as fast as they come."""
    frames = ctx.host(batch, 1, height, width, dtype=torch.uint8)
    k = torch.arange(8, device=ctx.device).float()
    cosine = torch.cos((2 * k[None] + 1) * k[:, None] * torch.pi / 16) / 2
    cosine[0] /= 2**0.5
    coarse = 10 + 4 * (k[:, None] + k[None])
    while ctx.running():
        x = frames.to(ctx.device, non_blocking=True).float()
        blocks = x.view(batch, height // 8, 8, width // 8, 8).transpose(2, 3) - 128
        for _ in range(4):
            turned = torch.round(cosine @ blocks @ cosine.T / coarse)
            blocks = cosine.T @ (turned * coarse) @ cosine
        (turned != 0).sum((2, 3)).to(torch.int32).cpu()
        ctx.step()
