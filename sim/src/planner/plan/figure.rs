//! One figure over several seeds: its distribution, and whether a setting changes it by more than the variation
//! between seeds.

use serde::Serialize;

/// A figure over the seeds of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figure {
    pub median: f64,
    /// The 10th percentile over the seeds (between two seeds: interpolated).
    pub low: f64,
    /// The 90th percentile.
    pub high: f64,
    /// The comparison with the configured settings, seed by seed; `None` for these themselves, and for a single seed.
    pub change: Option<Change>,
}

/// The difference between two settings that meet the same visitors, seed by seed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Change {
    pub mean: f64,
    /// The 99 % confidence interval of the mean (Student's t).
    pub low: f64,
    pub high: f64,
}

impl Figure {
    /// Returns `None` if there are no values.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Figure> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * sorted.len().checked_sub(1)? as f64;
            let (below, above) = (sorted.get(place.floor() as usize)?, sorted.get(place.ceil() as usize)?);
            Some(below + (above - below) * place.fract())
        };
        Some(Figure { median: at(0.5)?, low: at(0.1)?, high: at(0.9)?, change: None })
    }

    /// Reports whether the difference from the configured settings is within the noise of the seeds.
    #[must_use]
    pub fn is_noise(&self) -> bool {
        self.change.is_some_and(|change| change.is_noise())
    }
}

impl Change {
    /// Returns `None` for fewer than two differences: their noise is unknown.
    #[must_use]
    pub fn of(differences: &[f64]) -> Option<Change> {
        let count = differences.len();
        let quantile = T_99.get(count.checked_sub(2)?).or(T_99.last())?;
        let mean = differences.iter().sum::<f64>() / count as f64;
        let squares: f64 = differences.iter().map(|d| (d - mean).powi(2)).sum();
        let half = quantile * (squares / (count - 1) as f64 / count as f64).sqrt();
        Some(Change { mean, low: mean - half, high: mean + half })
    }

    /// Reports whether the interval contains 0.
    #[must_use]
    pub fn is_noise(self) -> bool {
        self.low <= 0.0 && 0.0 <= self.high
    }
}

/// Two-sided 99 % quantiles of Student's t for 1 to 30 degrees of freedom; for more, the last one is an upper bound.
const T_99: [f64; 30] = [
    63.657, 9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355, 3.250, 3.169, 3.106, 3.055, 3.012, 2.977, 2.947, 2.921,
    2.898, 2.878, 2.861, 2.845, 2.831, 2.819, 2.807, 2.797, 2.787, 2.779, 2.771, 2.763, 2.756, 2.750,
];

#[cfg(test)]
mod tests {
    use super::{Change, Figure};

    #[test]
    fn percentiles_are_interpolated_between_seeds() {
        let values: Vec<f64> = (1..=10).rev().map(f64::from).collect();
        let figure = Figure::of(&values).expect("ten values");
        assert_eq!((figure.median, figure.low, figure.high), (5.5, 1.9, 9.1));
        let one = Figure::of(&[7.0]).expect("one value");
        assert_eq!((one.median, one.low, one.high, one.change), (7.0, 7.0, 7.0, None));
        assert_eq!(Figure::of(&[]), None);
    }

    #[test]
    fn a_difference_counts_only_if_it_exceeds_the_noise_of_the_seeds() {
        assert_eq!(Change::of(&[1.0]), None);
        let noise = Change::of(&[1.0, -1.0, 2.0, -1.5, 0.5]).expect("five differences");
        assert!(noise.is_noise() && noise.low < 0.0 && noise.high > 0.0, "{noise:?}");
        let clear = Change::of(&[1.0, 1.1, 0.9, 1.05, 0.95]).expect("five differences");
        assert!(!clear.is_noise(), "{clear:?}");
        // Mean 1, standard deviation 0.0791: 1 plus and minus 4.604 * 0.0791 / sqrt(5).
        assert!((clear.high - 1.1628).abs() < 1e-3 && (clear.low - 0.8372).abs() < 1e-3, "{clear:?}");
        // Seeds that all agree leave no noise.
        assert!(Change::of(&[0.0; 4]).expect("four").is_noise());
        assert!(!Change::of(&[-2.0; 4]).expect("four").is_noise());
        let many = Change::of(&[3.0; 500]).expect("many");
        assert_eq!((many.low, many.high), (3.0, 3.0));
    }
}
