//! Medians and percentiles on samples that can be checked by eye.

use super::{median, percentile};

#[test]
fn the_median_is_the_middle_whatever_the_order() {
    assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
    assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
    assert_eq!(median(&[7.0]), 7.0);
    assert_eq!(median(&[]), 0.0);
}

#[test]
fn a_percentile_is_a_value_of_the_sample() {
    let sample: Vec<f64> = (1..=100).map(f64::from).collect();
    assert_eq!(percentile(&sample, 50), 50.0);
    assert_eq!(percentile(&sample, 99), 99.0);
    assert_eq!(percentile(&[5.0], 99), 5.0);
    assert_eq!(percentile(&[], 50), 0.0);
}
