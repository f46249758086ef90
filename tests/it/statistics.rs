//! What two samples of measurements say about each other.

/// How likely two samples of the same distribution differ as much as these: Mann and Whitney's U test, two-sided,
/// by the normal approximation with correction for ties.
pub fn mann_whitney_p(a: &[f64], b: &[f64]) -> f64 {
    let (m, n) = (a.len() as f64, b.len() as f64);
    let mut all: Vec<(f64, bool)> = a.iter().map(|value| (*value, true)).collect();
    all.extend(b.iter().map(|value| (*value, false)));
    all.sort_by(|one, other| one.0.total_cmp(&other.0));
    // Values that are the same share the mean of their ranks.
    let (mut rank_sum, mut ties, mut before) = (0.0, 0.0, 0.0);
    for same in all.chunk_by(|one, other| one.0 == other.0) {
        let count = same.len() as f64;
        let rank = before + (count + 1.0) / 2.0;
        rank_sum += rank * same.iter().filter(|(_, is_of_a)| *is_of_a).count() as f64;
        ties += count.powi(3) - count;
        before += count;
    }
    let u = rank_sum - m * (m + 1.0) / 2.0;
    let variance = m * n / 12.0 * ((m + n + 1.0) - ties / ((m + n) * (m + n - 1.0)));
    if variance <= 0.0 {
        return 1.0;
    }
    let distance = ((u - m * n / 2.0).abs() - 0.5).max(0.0);
    erfc(distance / (2.0 * variance).sqrt())
}

/// The complementary error function for `x` ≥ 0 (Abramowitz and Stegun 7.1.26), to seven digits.
fn erfc(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let polynomial = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592]
        .into_iter()
        .fold(0.0, |sum, factor| (sum + factor) * t);
    polynomial * (-x * x).exp()
}

/// The value that this share of the sample does not exceed.
pub fn quantile(sample: &[f64], share: f64) -> f64 {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

#[test]
fn the_statistic_agrees_with_known_values() {
    let near = |found: f64, expected: f64| {
        assert!((found - expected).abs() < 1e-6, "{found}, not {expected}");
    };
    // python3: ranks, variance and distance written out naively, then math.erfc.
    let counted = |from: u32, to: u32| (from..to).map(f64::from).collect::<Vec<_>>();
    near(mann_whitney_p(&counted(1, 6), &counted(6, 11)), 0.012_185_780_355_344_813);
    near(mann_whitney_p(&counted(0, 100), &counted(0, 100)), 1.0);
    near(mann_whitney_p(&[1.0; 5], &[1.0; 9]), 1.0);
    near(mann_whitney_p(&[1.0, 1.0, 2.0, 2.0, 3.0], &[2.0, 3.0, 3.0, 4.0, 4.0]), 0.052_411_628_671_028_68);
    // A shift that nobody sees in a plot is seen in enough samples, from both sides.
    let shifted: Vec<f64> = counted(0, 300).iter().map(|value| value + 50.0).collect();
    assert!(mann_whitney_p(&counted(0, 300), &shifted) < 1e-6);
    assert!(mann_whitney_p(&shifted, &counted(0, 300)) < 1e-6);
    near(quantile(&counted(0, 101), 0.99), 99.0);
}
