//! Rows of bounded length, in place: what is computed at every window takes no memory anew.
#![expect(
    clippy::arithmetic_side_effects,
    reason = "signal arithmetic on f64, which saturates and never traps; places are kept below a length that is checked"
)]

/// At most so many values; one too many is left out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<const MOST: usize> {
    values: [f64; MOST],
    count: usize,
}

impl<const MOST: usize> Default for Row<MOST> {
    fn default() -> Self {
        Self {
            values: [0.0; MOST],
            count: 0,
        }
    }
}

impl<const MOST: usize> FromIterator<f64> for Row<MOST> {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut row = Self::default();
        values.into_iter().for_each(|v| row.push(v));
        row
    }
}

impl<const MOST: usize> Row<MOST> {
    /// Adds a value; one too many is left out.
    pub(super) fn push(&mut self, value: f64) {
        if let Some(slot) = self.values.get_mut(self.count) {
            *slot = value;
            self.count += 1;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn get(&self, place: usize) -> Option<f64> {
        self.values().get(place).copied()
    }

    pub(super) fn values(&self) -> &[f64] {
        self.values.get(..self.count).unwrap_or_default()
    }

    pub(super) fn values_mut(&mut self) -> &mut [f64] {
        self.values.get_mut(..self.count).unwrap_or_default()
    }

    /// The value below which nearly so many in a hundred of them lie; `None` of none.
    pub(super) fn centile(mut self, of_hundred: usize) -> Option<f64> {
        self.values_mut().sort_unstable_by(f64::total_cmp);
        self.get(self.count.saturating_mul(of_hundred).div_euclid(100))
    }
}

/// The last so many of what was added.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ring<T, const MOST: usize> {
    values: [T; MOST],
    next: usize,
    count: usize,
}

impl<T: Copy + Default, const MOST: usize> Default for Ring<T, MOST> {
    fn default() -> Self {
        Self {
            values: [T::default(); MOST],
            next: 0,
            count: 0,
        }
    }
}

impl<T: Copy, const MOST: usize> Ring<T, MOST> {
    /// Adds a value, in place of the oldest where it is full.
    pub(super) fn push(&mut self, value: T) {
        if let Some(slot) = self.values.get_mut(self.next) {
            *slot = value;
            self.next = self.next.saturating_add(1).checked_rem(MOST).unwrap_or(0);
            self.count = self.count.saturating_add(1).min(MOST);
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.count == MOST
    }

    /// From the oldest on.
    pub(super) fn iter(&self) -> impl Iterator<Item = T> {
        let (late, early) = self
            .values
            .split_at_checked(if self.is_full() { self.next } else { 0 })
            .unwrap_or_default();
        early.iter().chain(late).take(self.count).copied()
    }
}

pub(super) fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u32), |(s, n), v| (s + v, n.saturating_add(1)));
    (count > 0).then(|| sum / f64::from(count))
}

/// Standard deviation, of a mean above zero.
pub(super) fn variation(series: &[f64]) -> Option<f64> {
    let centre = mean(series.iter().copied()).filter(|m| *m > 0.0)?;
    let square = mean(series.iter().map(|v| (v - centre) * (v - centre)))?;
    Some(square.sqrt() / centre)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_holds_the_last_and_a_row_the_first() {
        let mut ring = Ring::<u32, 3>::default();
        assert_eq!(ring.iter().count(), 0);
        ring.push(1);
        ring.push(2);
        assert_eq!(ring.iter().collect::<Vec<_>>(), [1, 2]);
        (3..=7).for_each(|v| ring.push(v));
        assert_eq!(ring.iter().collect::<Vec<_>>(), [5, 6, 7]);
        let row: Row<3> = [4.0, 1.0, 2.0, 9.0].into_iter().collect();
        assert_eq!(row.values(), [4.0, 1.0, 2.0]);
        assert_eq!((row.centile(50), row.centile(90)), (Some(2.0), Some(4.0)));
        assert_eq!(Row::<3>::default().centile(50), None);
    }
}
