"""Work on tables: sorting, joining, counting, and finding what is alike."""

import torch

from . import program


@program("other", "data", "etl_64m_rows", tiny=dict(rows=1000, keys=50), order=31, rows=1 << 26, keys=1_000_000)
def etl_pipeline(ctx, rows, keys):
    """A table comes from the host in parts; it is filtered, joined, grouped and summed, and the sums go back."""
    parts = 8
    part = rows // parts
    source = ctx.host(part, dtype=torch.int32)
    names = torch.randperm(keys, device=ctx.device)
    while ctx.running():
        total = torch.zeros(keys, device=ctx.device, dtype=torch.int64)
        for _ in range(parts):
            if not ctx.running():
                return
            value = source.to(ctx.device, non_blocking=True).long()
            key = (value * 2654435761 + torch.arange(part, device=ctx.device)) % keys
            wanted = value > 8
            key, value = names[key[wanted]], value[wanted]
            total.index_add_(0, key, value)
        order = total.argsort(descending=True)
        total[order[:100000]].cpu()
        ctx.step()


@program("other", "data", "sort_int64_128m", tiny=dict(rows=1000), order=33, rows=1 << 27)
def sorting(ctx, rows):
    """Keys are sorted with what belongs to them, again and again."""
    while ctx.running():
        key = torch.randint(0, 1 << 62, (rows,), device=ctx.device)
        value, index = key.sort()
        key[index[:: max(1, rows // 1000)]].sum().item()
        del key, value, index
        ctx.step()


@program("other", "data", "dedup_minhash", tiny=dict(texts=64, length=16, hashes=4), order=47, texts=1 << 18, length=128, hashes=64)
def deduplication(ctx, texts, length, hashes):
    """Texts that are alike are found by the least of many hashes."""
    factors = [ctx.random.randrange(1, 1 << 31) | 1 for _ in range(hashes)]
    while ctx.running():
        text = torch.randint(0, 1 << 30, (texts, length), device=ctx.device)
        mark = torch.zeros(texts, dtype=torch.int64, device=ctx.device)
        for factor in factors:
            least = (text * factor).bitwise_xor_(text >> 7).bitwise_and_(0x7FFFFFFF).amin(1)
            mark = mark * 31 + least
        torch.unique_consecutive(mark.sort().values).numel()
        ctx.step()


@program("other", "data", "compare_columns", tiny=dict(rows=500), order=54, rows=1 << 26)
def column_statistics(ctx, rows):
    """Columns are scanned for their counts, bounds, deviations and histograms."""
    columns = [torch.rand(rows, device=ctx.device) for _ in range(4)]
    while ctx.running():
        for a in columns:
            a.mean(), a.std(), a.amin(), a.amax()
            torch.histc(a, 1000, 0, 1)
            a.cumsum(0)[-1].item()
        ctx.step()
