//! Mean and spread of numbers, in a form that can be merged.

/// How many numbers there are, their mean, and the sum of their squared distances from it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Spread {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    pub(crate) squares: f64,
}

impl Spread {
    /// Takes in one more number, as in Welford (1962).
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1;
        let delta = value - self.mean;
        self.mean += delta / self.count as f64;
        self.squares += delta * (value - self.mean);
    }

    /// Takes in all numbers of another one, as in Chan, Golub and LeVeque (1979).
    pub(crate) fn merge(&mut self, other: &Self) {
        if self.count == 0 || other.count == 0 {
            if self.count == 0 {
                *self = *other;
            }
            return;
        }
        let count = self.count + other.count;
        let delta = other.mean - self.mean;
        let share = other.count as f64 / count as f64;
        self.squares += other.squares + delta * delta * self.count as f64 * share;
        self.mean += delta * share;
        self.count = count;
    }

    /// The mean; `None` without a number, or if it is beyond what a float can hold.
    pub(crate) fn mean(&self) -> Option<f64> {
        Some(self.mean).filter(|mean| self.count > 0 && mean.is_finite())
    }

    /// The standard deviation of a sample; `None` for fewer than two numbers, or if it is beyond what a float can hold.
    pub(crate) fn deviation(&self) -> Option<f64> {
        let degrees = self.count.checked_sub(1).filter(|d| *d > 0)?;
        Some((self.squares / degrees as f64).sqrt()).filter(|deviation| deviation.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Spread {
        let mut spread = Spread::default();
        values.iter().for_each(|v| spread.add(*v));
        spread
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let whole = of(&[1.0, 2.0, 9.0, 4.0]);
        let mut merged = of(&[1.0]);
        merged.merge(&of(&[]));
        merged.merge(&of(&[2.0, 9.0, 4.0]));
        assert_eq!((whole.mean(), merged.mean()), (Some(4.0), Some(4.0)));
        assert!((whole.deviation().unwrap() - merged.deviation().unwrap()).abs() < 1e-12);
        let mut empty = Spread::default();
        empty.merge(&whole);
        assert_eq!(empty, whole);
    }

    #[test]
    fn too_few_numbers_have_no_figure() {
        assert_eq!((of(&[]).mean(), of(&[]).deviation()), (None, None));
        assert_eq!((of(&[5.0]).mean(), of(&[5.0]).deviation()), (Some(5.0), None));
        assert_eq!(of(&[f64::MAX, f64::MIN]).mean(), None);
    }
}
