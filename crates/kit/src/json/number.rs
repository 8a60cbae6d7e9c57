//! How long a JSON number is, written out.
//!
//! Deliberately without its value. Invariant: what passes, PostgreSQL's `numeric` keeps digit for digit.

/// Digits of a number that is written out without an exponent, as `jsonb` gives it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    sign: usize,
    before_point: usize,
    after_point: usize,
}

impl Extent {
    /// More than any number of 64 bits has, and far less than `numeric` takes.
    const MAX_DIGITS: i64 = 1000;
    /// The rule of a number that has none.
    pub(super) const RULE: &'static str =
        "is a number of at most 1000 digits before and 1000 digits after its point, written out";

    /// Of a number in JSON; none where it has too many digits.
    pub(super) fn of(number: &str) -> Option<Self> {
        let (sign, number) = match number.strip_prefix('-') {
            Some(number) => (1, number),
            None => (0, number),
        };
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        // What is not even a number of 64 bits has too many digits, whichever way it points.
        let exponent: i64 = exponent.parse().ok()?;
        let [whole, fraction] = [whole, fraction].map(|digits| i64::try_from(digits.len()));
        let before_point = whole.ok()?.checked_add(exponent)?.max(1);
        let after_point = fraction.ok()?.checked_sub(exponent)?.max(0);
        let fits = before_point <= Self::MAX_DIGITS && after_point <= Self::MAX_DIGITS;
        Some(Self {
            sign,
            before_point: usize::try_from(before_point).ok()?,
            after_point: usize::try_from(after_point).ok()?,
        })
        .filter(|_| fits)
    }

    /// Its bytes.
    pub(super) fn written_out(self) -> usize {
        let point = usize::from(self.after_point > 0);
        self.sign + self.before_point + point + self.after_point
    }
}
