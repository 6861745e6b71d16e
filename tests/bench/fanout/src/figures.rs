//! Numbers out of numbers: medians, percentiles, and ratios of rounds that were run side by side.

/// The value below which that share lies: of sorted values, the nearest one.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}

/// `None` of none.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some(f64::midpoint(values[low], values[high]))
}

/// The median of each round's own ratio: what slowed a round down slowed both. Rounds in which one of the two is
/// missing take no part.
pub(crate) fn ratio(of: &[Option<f64>], to: &[Option<f64>]) -> Option<f64> {
    let pairs = of.iter().zip(to).filter_map(|(of, to)| Some((*of)? / (*to)?));
    median(pairs.filter(|ratio| ratio.is_finite()).collect())
}

/// Whether memory that was looked at again and again has stopped growing: its last third lies hardly above its middle one.
pub(crate) fn is_flat(samples: &[f64]) -> bool {
    let third = samples.len() / 3;
    let middle = median(samples[third..2 * third].to_vec());
    let last = median(samples[2 * third..].to_vec());
    middle.zip(last).is_some_and(|(middle, last)| last <= middle * GROWTH)
}

/// A heap breathes by a few percent.
const GROWTH: f64 = 1.03;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 100.0]), Some(3.0));
        assert_eq!(percentile(&[1.0, 2.0, 3.0], 0.95), 3.0);
        assert!(percentile(&[], 0.5).is_nan());
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        // The machine was half as fast in the second round, and the third one lost something.
        let of = [Some(3.0), Some(6.0), Some(300.0), None];
        let to = [Some(2.0), Some(4.0), None, Some(2.0)];
        assert_eq!(ratio(&of, &to), Some(1.5));
        assert_eq!(ratio(&[None], &[Some(1.0)]), None);
    }

    #[test]
    fn memory_is_flat_when_it_stopped_growing() {
        let grows: Vec<f64> = (0..30).map(|n| 100.0 + f64::from(n)).collect();
        let settles: Vec<f64> = (0..30).map(|n| 100.0 + f64::from(n.min(10))).collect();
        assert!(!is_flat(&grows));
        assert!(is_flat(&settles));
        assert!(!is_flat(&[]), "nothing is known of nothing");
    }
}
