"""Simulation and numerical work."""

import math

import torch
import torch.nn.functional as F

from . import program
from .kernels import kernel


@program("hpc", "dense_algebra", "fp64_gemm_n6144", tiny=dict(n=32), order=5, n=6144)
def fp64_products(ctx, n):
    """Products of FP64 matrices, as in dense solvers."""
    a, b = (torch.randn(n, n, device=ctx.device, dtype=torch.float64) for _ in range(2))
    c = torch.zeros_like(a)
    while ctx.running():
        torch.addmm(c, a, b, beta=0.5, alpha=1.0 / n, out=c)
        ctx.step()


@program("hpc", "dense_algebra", "fp64_lu_n12288", tiny=dict(n=32, panel=8), order=44, n=12288, panel=512)
def dense_factorisation(ctx, n, panel):
    """A Cholesky factorisation by panels, as the benchmark of the Top500 works: each product is smaller than the one before."""
    while ctx.running():
        a = torch.rand(n, n, device=ctx.device, dtype=torch.float64)
        a.diagonal().add_(n)
        a = (a + a.T) * 0.5
        for at in range(0, n, panel):
            if not ctx.running():
                return
            to = min(n, at + panel)
            a[at:to, at:to] = torch.linalg.cholesky_ex(a[at:to, at:to])[0]
            if to < n:
                below = torch.linalg.solve_triangular(a[at:to, at:to].T, a[to:, at:to], upper=True, left=False)
                a[to:, at:to] = below
                a[to:, to:].addmm_(below, below.T, alpha=-1)
            ctx.step()


@program("hpc", "fourier", "fft3d_c64_384", tiny=dict(n=8), order=7, n=384)
def fourier_transform(ctx, n):
    """A spectral solver: transforms in three dimensions to and fro, and a product between them."""
    field = torch.randn(n, n, n, device=ctx.device, dtype=torch.complex64)
    waves = torch.fft.fftfreq(n, device=ctx.device).square()
    decay = torch.exp(-(waves[:, None, None] + waves[None, :, None] + waves[None, None, :]))
    while ctx.running():
        field = torch.fft.ifftn(torch.fft.fftn(field).mul_(decay))
        ctx.step()


STENCIL = r"""
extern "C" __global__ void heat(const double* a, double* b, int n) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y, z = blockIdx.z;
    if (x < 1 || y < 1 || z < 1 || x >= n - 1 || y >= n - 1 || z >= n - 1) return;
    long long s = n, i = (z * s + y) * s + x;
    b[i] = a[i] + 0.1 * (a[i - 1] + a[i + 1] + a[i - s] + a[i + s] + a[i - s * s] + a[i + s * s] - 6.0 * a[i]);
}
"""


@program("hpc", "stencil", "heat_fp64_640", tiny=dict(n=8), order=23, n=640)
def heat_stencil(ctx, n):
    """Heat in three dimensions, in FP64: each point takes part of its neighbours'. The halo goes to the host and back."""
    a, b = (torch.rand(n, n, n, device=ctx.device, dtype=torch.float64) for _ in range(2))
    halo = ctx.host(2, n, n, dtype=torch.float64)
    run = kernel(ctx, STENCIL, "heat", a, b, n, grid=((n + 31) // 32, (n + 7) // 8, n), block=(32, 8, 1))

    def eager():
        mid = a[1:-1, 1:-1, 1:-1]
        near = a[:-2, 1:-1, 1:-1] + a[2:, 1:-1, 1:-1] + a[1:-1, :-2, 1:-1] + a[1:-1, 2:, 1:-1]
        b[1:-1, 1:-1, 1:-1] = mid + 0.1 * (near + a[1:-1, 1:-1, :-2] + a[1:-1, 1:-1, 2:] - 6 * mid)

    while ctx.running():
        for _ in range(10):
            if run is None:
                eager()
            else:
                run(a, b, n)
            a, b = b, a
        halo[0].copy_(a[1], non_blocking=True)
        a[0].copy_(halo[1], non_blocking=True)
        ctx.step()


@program("hpc", "stencil", "lattice_boltzmann_d2q9", tiny=dict(n=16), order=49, n=4096)
def lattice_boltzmann(ctx, n):
    """Flow on a lattice of two dimensions with nine directions, in FP32."""
    moves = [(0, 0), (1, 0), (0, 1), (-1, 0), (0, -1), (1, 1), (-1, 1), (-1, -1), (1, -1)]
    weights = [4 / 9] + 4 * [1 / 9] + 4 * [1 / 36]
    flow = torch.rand(9, n, n, device=ctx.device) + 1
    while ctx.running():
        density = flow.sum(0)
        x = sum(m[0] * f for m, f in zip(moves, flow) if m[0]) / density
        y = sum(m[1] * f for m, f in zip(moves, flow) if m[1]) / density
        square = 1 - 1.5 * (x * x + y * y)
        for place, (move, weight) in enumerate(zip(moves, weights)):
            along = 3 * (move[0] * x + move[1] * y)
            rest = weight * density * (square + along + 0.5 * along * along)
            flow[place] = torch.roll(flow[place] * 0.4 + rest * 0.6, move, (0, 1))
        ctx.step()


NBODY = r"""
extern "C" __global__ void pull(const float4* at, float4* force, int n) {
    __shared__ float4 near_[256];
    int i = blockIdx.x * 256 + threadIdx.x;
    float4 me = at[i];
    float x = 0.f, y = 0.f, z = 0.f;
    for (int from = 0; from < n; from += 256) {
        near_[threadIdx.x] = at[from + threadIdx.x];
        __syncthreads();
        #pragma unroll 16
        for (int j = 0; j < 256; ++j) {
            float dx = near_[j].x - me.x, dy = near_[j].y - me.y, dz = near_[j].z - me.z;
            float r = rsqrtf(dx * dx + dy * dy + dz * dz + 1e-4f);
            float s = near_[j].w * r * r * r;
            x += dx * s; y += dy * s; z += dz * s;
        }
        __syncthreads();
    }
    force[i] = make_float4(x, y, z, 0.f);
}
"""


@program("hpc", "n_body", "nbody_fp32_131072", tiny=dict(n=256), order=25, n=131072)
def n_body(ctx, n):
    """Bodies that all pull at each other, in FP32."""
    at = torch.rand(n, 4, device=ctx.device)
    speed, force = torch.zeros_like(at), torch.zeros_like(at)
    run = kernel(ctx, NBODY, "pull", at, force, n, grid=(n // 256, 1, 1), block=(256, 1, 1))

    def eager():
        for part in range(0, n, 256):
            apart = at[None, :, :3] - at[part : part + 256, None, :3]
            r = torch.rsqrt(apart.square().sum(-1) + 1e-4)
            force[part : part + 256, :3] = torch.einsum("ijk,ij->ik", apart, at[None, :, 3] * r**3)

    while ctx.running():
        eager() if run is None else run(at, force, n)
        speed.add_(force, alpha=1e-9)
        at.add_(speed, alpha=1e-3)
        ctx.step()


@program("hpc", "sparse_solve", "cg_poisson_256", tiny=dict(n=6), order=27, n=256)
def sparse_solver(ctx, n):
    """Conjugate gradients for Poisson's equation in three dimensions, with a sparse matrix in FP64."""
    points = n**3
    place = torch.arange(points, device=ctx.device)
    coordinates = torch.stack([place // (n * n), place // n % n, place % n])
    rows, columns, values = [place], [place], [torch.full((points,), 6.0, device=ctx.device, dtype=torch.float64)]
    for axis, stride in enumerate((n * n, n, 1)):
        for sign in (-1, 1):
            inside = (coordinates[axis] + sign >= 0) & (coordinates[axis] + sign < n)
            rows.append(place[inside])
            columns.append(place[inside] + sign * stride)
            values.append(torch.full((rows[-1].numel(),), -1.0, device=ctx.device, dtype=torch.float64))
    row, column, value = torch.cat(rows), torch.cat(columns), torch.cat(values)
    order = torch.argsort(row * points + column)
    starts = F.pad(torch.bincount(row, minlength=points).cumsum(0), (1, 0)).to(torch.int32)
    matrix = torch.sparse_csr_tensor(starts, column[order].to(torch.int32), value[order], (points, points))
    del rows, columns, values, row, column, value, order, coordinates, place
    while ctx.running():
        x = torch.zeros(points, device=ctx.device, dtype=torch.float64)
        r = torch.rand_like(x)
        p, rr = r.clone(), r.square().sum()
        for _ in range(200):
            if not ctx.running():
                return
            ap = matrix @ p
            alpha = rr / (p * ap).sum()
            x.add_(alpha * p)
            r.sub_(alpha * ap)
            new = r.square().sum()
            p = r + (new / rr) * p
            rr = new
            # A solver looks at what is left after each iteration.
            rr.item()
            ctx.step()


PATHS = r"""
extern "C" __global__ void paths(float* sums, int steps, int seed) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    unsigned a = i * 2654435761u ^ (unsigned)seed, b = a ^ 0x9e3779b9u, c = i | 1u;
    float price = 1.f, mean = 0.f;
    for (int s = 0; s < steps; ++s) {
        a ^= a << 13; a ^= a >> 17; a ^= a << 5;
        b = b * 1664525u + c;
        float u = ((a ^ b) >> 8) * (1.f / 16777216.f) + 1e-7f, v = (b >> 8) * (1.f / 16777216.f);
        float z = sqrtf(-2.f * __logf(u)) * __cosf(6.2831853f * v);
        price *= __expf(0.0001f + 0.01f * z);
        mean += price;
    }
    sums[i] = fmaxf(mean / steps - 1.f, 0.f);
}
"""


@program("hpc", "monte_carlo", "asian_option_4m_paths", tiny=dict(paths=256, steps=4), order=29, paths=1 << 22, steps=2048)
def monte_carlo(ctx, paths, steps):
    """The price of an option from many random paths; each thread draws its own numbers."""
    sums = torch.zeros(paths, device=ctx.device)
    run = kernel(ctx, PATHS, "paths", sums, steps, 1, grid=(paths // 256, 1, 1), block=(256, 1, 1))
    while ctx.running():
        if run is None:
            price, mean = torch.ones_like(sums), torch.zeros_like(sums)
            for _ in range(steps):
                price.mul_(torch.exp(0.0001 + 0.01 * torch.randn_like(price)))
                mean.add_(price)
            sums.copy_((mean / steps - 1).clamp(min=0))
        else:
            run(sums, steps, ctx.steps + 1)
        sums.mean().item()
        ctx.step()


@program("hpc", "particle", "molecular_cells_1m", tiny=dict(particles=200, cells=3), order=45, particles=2_000_000, cells=64)
def particle_mesh(ctx, particles, cells):
    """Particles on a mesh: their charge is spread, a field is solved by transforms, and they are moved."""
    at = torch.rand(particles, 3, device=ctx.device)
    speed = torch.zeros_like(at)
    waves = torch.fft.fftfreq(cells, device=ctx.device).square()
    square = waves[:, None, None] + waves[None, :, None] + waves[None, None, :]
    square[0, 0, 0] = math.inf
    while ctx.running():
        index = (at * cells).long().clamp(0, cells - 1)
        flat = (index[:, 0] * cells + index[:, 1]) * cells + index[:, 2]
        charge = torch.zeros(cells**3, device=ctx.device).index_add(0, flat, torch.ones(particles, device=ctx.device))
        field = torch.fft.ifftn(torch.fft.fftn(charge.view(cells, cells, cells)) / square).real
        pull = torch.stack([torch.roll(field, 1, d) - torch.roll(field, -1, d) for d in range(3)], -1).view(-1, 3)
        speed.add_(pull[flat], alpha=1e-9)
        at.add_(speed).remainder_(1.0)
        ctx.step()
