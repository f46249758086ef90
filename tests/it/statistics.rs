//! Whether two samples come from the same distribution.

use libtest_mimic::Trial;

use crate::harness::World;

/// How likely two samples of one distribution are to be at least as different as these: Mann–Whitney's U test,
/// two-sided, by the normal approximation with corrections for ties and continuity. For samples of 20 and more.
pub fn mann_whitney_p(a: &[f64], b: &[f64]) -> f64 {
    let mut all: Vec<(f64, bool)> =
        a.iter().map(|value| (*value, true)).chain(b.iter().map(|value| (*value, false))).collect();
    all.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
    let (mut rank_sum, mut ties, mut before) = (0.0, 0.0, 0);
    for group in all.chunk_by(|one, other| one.0 == other.0) {
        let size = group.len() as f64;
        let rank = before as f64 + (size + 1.0) / 2.0;
        rank_sum += rank * group.iter().filter(|(_, of_a)| *of_a).count() as f64;
        ties += size.powi(3) - size;
        before += group.len();
    }
    let (of_a, of_b, of_all) = (a.len() as f64, b.len() as f64, all.len() as f64);
    let u = rank_sum - of_a * (of_a + 1.0) / 2.0;
    let variance = of_a * of_b / 12.0 * (of_all + 1.0 - ties / (of_all * (of_all - 1.0)));
    if variance <= 0.0 {
        // All values are equal.
        return 1.0;
    }
    let distance = ((u - of_a * of_b / 2.0).abs() - 0.5).max(0.0);
    erfc(distance / variance.sqrt() / std::f64::consts::SQRT_2)
}

/// The complementary error function of what is not negative, by the continued fraction or the series, each
/// where it converges fast.
fn erfc(x: f64) -> f64 {
    let gauss = (-x * x).exp() / std::f64::consts::PI.sqrt();
    if x < 2.0 {
        let (mut term, mut sum) = (x, x);
        for n in 1..100 {
            term *= 2.0 * x * x / f64::from(2 * n + 1);
            sum += term;
        }
        return 1.0 - 2.0 * gauss * sum;
    }
    let fraction = (1..100).rev().fold(x, |below, n| x + f64::from(n) / 2.0 / below);
    gauss / fraction
}

pub fn trials(_: &std::sync::Arc<World>) -> Vec<Trial> {
    let check = || {
        the_statistic_agrees_with_known_values();
        Ok(())
    };
    vec![Trial::test("statistics::the_statistic_agrees_with_known_values", check)]
}

fn the_statistic_agrees_with_known_values() {
    let near = |found: f64, expected: f64| {
        assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
    };
    // python3: math.erfc
    near(erfc(0.0), 1.0);
    near(erfc(0.5), 0.479_500_122_186_953_5);
    near(erfc(2.5), 0.000_406_952_017_444_959);
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
}
