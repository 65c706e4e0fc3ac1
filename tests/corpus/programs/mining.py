"""Proofs of work: hashes, memory, and products of integers."""

import torch

from . import program
from .kernels import kernel

SHA256 = r"""
__constant__ unsigned K[64] = {
0x428a2f98,0x71374491,0xb5c0fbcf,0xe9b5dba5,0x3956c25b,0x59f111f1,0x923f82a4,0xab1c5ed5,0xd807aa98,0x12835b01,0x243185be,
0x550c7dc3,0x72be5d74,0x80deb1fe,0x9bdc06a7,0xc19bf174,0xe49b69c1,0xefbe4786,0x0fc19dc6,0x240ca1cc,0x2de92c6f,0x4a7484aa,
0x5cb0a9dc,0x76f988da,0x983e5152,0xa831c66d,0xb00327c8,0xbf597fc7,0xc6e00bf3,0xd5a79147,0x06ca6351,0x14292967,0x27b70a85,
0x2e1b2138,0x4d2c6dfc,0x53380d13,0x650a7354,0x766a0abb,0x81c2c92e,0x92722c85,0xa2bfe8a1,0xa81a664b,0xc24b8b70,0xc76c51a3,
0xd192e819,0xd6990624,0xf40e3585,0x106aa070,0x19a4c116,0x1e376c08,0x2748774c,0x34b0bcb5,0x391c0cb3,0x4ed8aa4a,0x5b9cca4f,
0x682e6ff3,0x748f82ee,0x78a5636f,0x84c87814,0x8cc70208,0x90befffa,0xa4506ceb,0xbef9a3f7,0xc67178f2};
__device__ __forceinline__ unsigned turn(unsigned x, int n) { return __funnelshift_r(x, x, n); }
extern "C" __global__ void mine(unsigned* best, int rounds, int seed) {
    unsigned nonce = blockIdx.x * blockDim.x + threadIdx.x, least = 0xffffffffu;
    for (int r = 0; r < rounds; ++r) {
        unsigned w[16], s[8] = {0x6a09e667,0xbb67ae85,0x3c6ef372,0xa54ff53a,0x510e527f,0x9b05688c,0x1f83d9ab,0x5be0cd19};
        #pragma unroll
        for (int i = 0; i < 16; ++i) w[i] = (nonce + r * 7919u) * (i + 1) ^ (unsigned)seed;
        #pragma unroll
        for (int i = 0; i < 64; ++i) {
            if (i >= 16) {
                unsigned a = w[(i + 1) & 15], b = w[(i + 14) & 15];
                w[i & 15] += (turn(a, 7) ^ turn(a, 18) ^ (a >> 3)) + w[(i + 9) & 15] + (turn(b, 17) ^ turn(b, 19) ^ (b >> 10));
            }
            unsigned t = s[7] + (turn(s[4], 6) ^ turn(s[4], 11) ^ turn(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) + K[i] + w[i & 15];
            unsigned u = (turn(s[0], 2) ^ turn(s[0], 13) ^ turn(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
            s[7] = s[6]; s[6] = s[5]; s[5] = s[4]; s[4] = s[3] + t; s[3] = s[2]; s[2] = s[1]; s[1] = s[0]; s[0] = t + u;
        }
        least = min(least, s[0] + 0x6a09e667u);
    }
    atomicMin(best, least);
}
"""


@program("other", "mining", "sha256_nonces", tiny=dict(threads=256, rounds=1), order=35, threads=1 << 20, rounds=256)
def integer_hash(ctx, threads, rounds):
    """SHA-256 over ever new nonces: the integer pipe is full, nothing else is used."""
    best = torch.full((1,), -1, dtype=torch.int32, device=ctx.device)
    run = kernel(ctx, SHA256, "mine", best, 1, 1, grid=(threads // 256, 1, 1), block=(256, 1, 1))
    nonces = torch.arange(threads, device=ctx.device)
    while ctx.running():
        if run is None:
            x = nonces + ctx.steps * threads
            for _ in range(rounds):
                x = ((x << 13) ^ (x >> 7) ^ (x * 0x6A09E667)) & 0xFFFFFFFF
            x.amin().item()
        else:
            run(best, rounds, ctx.steps)
        ctx.step()


DAG = r"""
extern "C" __global__ void walk(const uint4* dag, unsigned* best, int rows, int steps, int seed) {
    unsigned lane = threadIdx.x & 7, i = (blockIdx.x * blockDim.x + threadIdx.x) >> 3;
    unsigned mix = i * 2654435761u ^ (unsigned)seed, sum = 0;
    for (int s = 0; s < steps; ++s) {
        unsigned row = __shfl_sync(0xffffffffu, mix, (threadIdx.x & 24) | (s & 7)) % (unsigned)rows;
        uint4 part = dag[(unsigned long long)row * 8 + lane];
        mix = mix * 16777619u ^ part.x ^ (part.y * 3u) ^ (part.z + part.w);
        sum ^= mix;
    }
    atomicMin(best, sum);
}
"""


@program("other", "mining", "dag_walk_4gib", tiny=dict(rows=64, walkers=64, steps=4), order=37,
         rows=1 << 25, walkers=1 << 20, steps=64)
def memory_hard(ctx, rows, walkers, steps):
    """A walk over random places of 4 GiB: memory is the limit, by design."""
    dag = torch.randint(-(1 << 31), 1 << 31, (rows, 32), device=ctx.device, dtype=torch.int32)
    best = torch.full((1,), -1, dtype=torch.int32, device=ctx.device)
    run = kernel(ctx, DAG, "walk", dag, best, rows, 1, 1, grid=(walkers * 8 // 256, 1, 1), block=(256, 1, 1))
    while ctx.running():
        if run is None:
            row = torch.randint(0, rows, (walkers,), device=ctx.device)
            for _ in range(steps):
                row = dag[row].sum(1).remainder(rows)
        else:
            run(dag, best, rows, steps, ctx.steps)
        ctx.step()


@program("other", "mining", "int8_products_n8192", tiny=dict(n=32), order=40, n=8192)
def integer_products(ctx, n):
    """Products of INT8 matrices with noise in them, each hashed: useful work as a proof of work."""
    a = torch.randint(-127, 127, (n, n), device=ctx.device, dtype=torch.int8)
    b = torch.randint(-127, 127, (n, n), device=ctx.device, dtype=torch.int8).t()
    while ctx.running():
        for _ in range(8):
            c = torch._int_mm(a, b)
        (c[:: max(1, n // 64)].bitwise_xor(c[0])).amin().item()
        a.bitwise_xor_(1)
        ctx.step()
