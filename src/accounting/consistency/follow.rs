//! Whether one quantity follows another: their correlation over a window, in integers.

/// Sums of pairs. Values are at most 2^20 in size, and a window has at most some thousand of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Follow {
    n: i64,
    x: i64,
    y: i64,
    xx: i64,
    yy: i64,
    xy: i64,
}

impl Follow {
    pub(super) fn add(&mut self, x: u64, y: u64) {
        const MOST: u64 = 1 << 20;
        let of = |v: u64| i64::try_from(v.min(MOST)).unwrap_or(0);
        let (x, y) = (of(x), of(y));
        self.n = self.n.saturating_add(1);
        self.x = self.x.saturating_add(x);
        self.y = self.y.saturating_add(y);
        // Products of twenty bits have forty.
        self.xx = self.xx.saturating_add(x.wrapping_mul(x));
        self.yy = self.yy.saturating_add(y.wrapping_mul(y));
        self.xy = self.xy.saturating_add(x.wrapping_mul(y));
    }

    pub(super) fn pairs(&self) -> u64 {
        u64::try_from(self.n).unwrap_or(0)
    }

    /// Whether the first deviates from its mean by at least `least` (standard deviation).
    pub(super) fn first_moves(&self, least: u64) -> bool {
        self.moves(self.variance(self.xx, self.x), least)
    }

    /// Whether the second does.
    pub(super) fn second_moves(&self, least: u64) -> bool {
        self.moves(self.variance(self.yy, self.y), least)
    }

    /// The correlation in parts per million, from minus to plus a million; zero where either stands still.
    pub(super) fn correlation(&self) -> i32 {
        let (a, b) = (self.variance(self.xx, self.x), self.variance(self.yy, self.y));
        let c = i128::from(self.n)
            .saturating_mul(i128::from(self.xy))
            .saturating_sub(i128::from(self.x).saturating_mul(i128::from(self.y)));
        // Variances are below 2^80: their roots are taken apart, so that nothing overflows.
        let roots = root(a).saturating_mul(root(b));
        let scaled = c.saturating_mul(1_000_000).checked_div(roots).unwrap_or(0);
        i32::try_from(scaled.clamp(-1_000_000, 1_000_000)).unwrap_or(0)
    }

    /// n² times the variance.
    fn variance(&self, squares: i64, sum: i64) -> i128 {
        let sum = i128::from(sum);
        i128::from(self.n)
            .saturating_mul(i128::from(squares))
            .saturating_sub(sum.saturating_mul(sum))
            .max(0)
    }

    fn moves(&self, variance: i128, least: u64) -> bool {
        let least = i128::from(least).saturating_mul(i128::from(self.n));
        variance >= least.saturating_mul(least) && self.n > 0
    }
}

/// The whole part of the square root.
fn root(value: i128) -> i128 {
    i128::try_from(value.unsigned_abs().isqrt()).unwrap_or(i128::MAX)
}
