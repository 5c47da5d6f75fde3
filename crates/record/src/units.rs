//! Units as types inside the program; SI values with a unit suffix at its border.
//!
//! Every quantity is a newtype over the SI value, so a watt cannot be added to a joule. On disk a value is
//! the bare SI number under a column whose name ends in the unit ([`Quantity::SUFFIX`]); on a screen it is
//! shown in the unit people use ([`Quantity::human`]).

pub mod interval;
pub mod money;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Add, Div, Mul, Sub};

/// A physical quantity held in its SI unit.
pub trait Quantity: Copy {
    /// The ending of a column that holds this quantity, such as `s` or `tokens_per_s`.
    const SUFFIX: &'static str;
    /// The SI value.
    fn si(self) -> f64;
    /// The quantity with this SI value.
    fn from_si(value: f64) -> Self;
    /// The value with its unit, in the magnitude people read, at three significant digits.
    fn human(self) -> String;
}

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $suffix:literal, $human:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, JsonSchema, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub f64);

        impl Quantity for $name {
            const SUFFIX: &'static str = $suffix;
            fn si(self) -> f64 {
                self.0
            }
            fn from_si(value: f64) -> Self {
                Self(value)
            }
            fn human(self) -> String {
                let show: fn(f64) -> String = $human;
                show(self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.human())
            }
        }

        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
        }

        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0 - other.0)
            }
        }

        impl Mul<f64> for $name {
            type Output = Self;
            fn mul(self, by: f64) -> Self {
                Self(self.0 * by)
            }
        }

        impl Div<$name> for $name {
            type Output = f64;
            fn div(self, other: Self) -> f64 {
                self.0 / other.0
            }
        }
    };
}

quantity!(
    /// A span of time in seconds.
    Seconds, "s", |v| scaled(v, &[(1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")])
);
quantity!(
    /// An amount of memory or traffic in bytes. An `f64` holds every byte count below 8 PiB exactly.
    Bytes, "bytes", |v| scaled(v, &[
        (1024f64.powi(4), "TiB"), (1024f64.powi(3), "GiB"), (1024f64.powi(2), "MiB"), (1024.0, "KiB"), (1.0, "B")
    ])
);
quantity!(
    /// Energy in joules.
    Joules, "j", |v| scaled(v, &[(1e3, "kJ"), (1.0, "J"), (1e-3, "mJ")])
);
quantity!(
    /// Power in watts.
    Watts, "w", |v| scaled(v, &[(1e3, "kW"), (1.0, "W"), (1e-3, "mW")])
);
quantity!(
    /// Tokens per second.
    TokensPerSecond, "tokens_per_s", |v| scaled(v, &[(1.0, "tok/s")])
);
quantity!(
    /// Requests per second; one sequence of a batch is one request.
    RequestsPerSecond, "requests_per_s", |v| scaled(v, &[(1.0, "req/s")])
);
quantity!(
    /// Tokens per joule, which is also tokens per second per watt.
    TokensPerJoule, "tokens_per_j", |v| scaled(v, &[(1.0, "tok/J")])
);
quantity!(
    /// Joules per token.
    JoulesPerToken, "j_per_token", |v| scaled(v, &[(1.0, "J/tok"), (1e-3, "mJ/tok")])
);
quantity!(
    /// A share of a whole, 1 being all of it; shown in percent.
    Fraction, "fraction", |v| scaled(v, &[(0.01, "%")])
);
quantity!(
    /// Memory traffic in bytes per second; shown in powers of ten, as data sheets do.
    BytesPerSecond, "bytes_per_s", |v| scaled(v, &[(1e12, "TB/s"), (1e9, "GB/s"), (1e6, "MB/s")])
);
quantity!(
    /// Arithmetic operations per second, a multiply-add counting as two.
    OpsPerSecond, "ops_per_s", |v| scaled(v, &[(1e12, "TOP/s"), (1e9, "GOP/s"), (1e6, "MOP/s")])
);

impl Mul<Seconds> for Watts {
    type Output = Joules;
    fn mul(self, span: Seconds) -> Joules {
        Joules(self.0 * span.0)
    }
}

impl Div<Seconds> for Joules {
    type Output = Watts;
    fn div(self, span: Seconds) -> Watts {
        Watts(self.0 / span.0)
    }
}

impl Div<Seconds> for Bytes {
    type Output = BytesPerSecond;
    fn div(self, span: Seconds) -> BytesPerSecond {
        BytesPerSecond(self.0 / span.0)
    }
}

/// Money in US dollars, exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Usd(pub Decimal);

impl Usd {
    /// The amount times a measured (inexact) factor, or `None` where the factor is not a finite number that
    /// a decimal can hold.
    pub fn times(self, factor: f64) -> Option<Usd> {
        let factor = Decimal::from_f64_retain(factor)?;
        self.0.checked_mul(factor).map(Usd)
    }

    /// Why this cannot be what an hour of a machine costs; `None` where it can be. The bounds are far beyond every list:
    /// what is outside of them is another unit, a lost decimal mark or no price.
    pub fn hourly_fault(self) -> Option<String> {
        // 100,000 USD, a few hundred times the dearest machine; 0.0001 USD, a tenth of the cheapest.
        let (most, least) = (Decimal::from(100_000), Decimal::new(1, 4));
        let usd = self.0.normalize();
        match self.0 {
            usd_per_h if usd_per_h <= Decimal::ZERO => Some(format!("{usd} USD an hour: a price must be above 0")),
            usd_per_h if usd_per_h > most => Some(format!("{usd} USD an hour: no machine costs more than {most}")),
            usd_per_h if usd_per_h < least => Some(format!("{usd} USD an hour: no machine costs less than {least}")),
            _ => None,
        }
    }

    /// The amount as a float, for plots.
    pub fn to_f64(self) -> f64 {
        use rust_decimal::prelude::ToPrimitive;
        self.0.to_f64().unwrap_or(f64::NAN)
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("${}", money_digits(self.0)))
    }
}

/// Dollars with at least two decimals, and enough of them to show three significant digits of a small amount.
fn money_digits(amount: Decimal) -> String {
    let mut places = 2u32;
    let mut threshold = Decimal::ONE;
    while places < 10 && !amount.is_zero() && amount.abs() < threshold {
        places += 1;
        threshold /= Decimal::TEN;
    }
    format!("{:.*}", places as usize, amount.round_dp(places))
}

/// Numbers from here on, and below the other, are written with an exponent: so many zeros nobody counts.
const HUGE: f64 = 1e15;
const TINY: f64 = 1e-9;

/// A number at three significant digits, without an exponent where people read it without: `0.0123`, `12.3`, `12300`. What
/// is no number is a dash.
pub fn digits(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => return "-".to_string(),
        0.0 => return "0".to_string(),
        f64::INFINITY => return value.to_string(),
        size if !(TINY..HUGE).contains(&size) => return format!("{value:.2e}"),
        _ => {}
    }
    let magnitude = value.abs().log10().floor();
    let decimals = (2.0 - magnitude).clamp(0.0, 9.0) as usize;
    let text = format!("{value:.decimals$}");
    // 9.996 prints as 10.00 at two decimals: once more at the magnitude that rounding reached.
    let rounded: f64 = text.parse().unwrap_or(value);
    let decimals = (2.0 - rounded.abs().log10().floor()).clamp(0.0, 9.0) as usize;
    format!("{value:.decimals$}")
}

/// Reads `500ms`, `2s`, `80us`, `5min`.
pub fn parse_seconds(text: &str) -> Result<Seconds, String> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "s" => 1.0,
        "min" => 60.0,
        "ms" => 1e-3,
        "us" => 1e-6,
        _ => return Err(format!("`{text}` is not a time; write it like 500ms or 2s")),
    };
    match number.trim().parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(Seconds(value * factor)),
        _ => Err(format!("`{text}` is not a time above 0")),
    }
}

/// A number at up to three significant digits without zeros at its end: `99`, `99.9`, `0.5`.
pub fn digits_plain(value: f64) -> String {
    let text = digits(value);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

/// `value` in the first unit that it reaches when it is rounded, units given from large to small; nothing of it is nothing
/// of the SI unit.
fn scaled(value: f64, units: &[(f64, &str)]) -> String {
    if value.is_nan() {
        return digits(value);
    }
    let reached = |(size, _): &&(f64, &str)| match value {
        0.0 => *size <= 1.0,
        // 999.7 ms are 1000 at three digits, and that is a second.
        value => value.abs() * (1.0 + HALF_A_DIGIT) >= *size,
    };
    let (size, name) = units.iter().find(reached).or(units.last()).copied().unwrap_or((1.0, ""));
    format!("{} {name}", digits(value / size))
}

/// By which a number may grow when it is rounded to three digits from just below a power of ten.
const HALF_A_DIGIT: f64 = 0.0005;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn people_read_three_digits() {
        assert_eq!(Seconds(0.012345).human(), "12.3 ms");
        assert_eq!(Seconds(0.0).human(), "0 s");
        assert_eq!(Seconds(1e-12).human(), "0.00100 ns");
        assert_eq!(Bytes(1536.0).human(), "1.50 KiB");
        assert_eq!((Bytes(0.0).human(), Watts(0.0).human()), ("0 B".to_string(), "0 W".to_string()));
        assert_eq!(BytesPerSecond(3.35e12).human(), "3.35 TB/s");
        assert_eq!(Fraction(0.4567).human(), "45.7 %");
        assert_eq!(digits(9.996), "10.0");
        assert_eq!(digits(12345.6), "12346");
        assert_eq!(digits(-0.5), "-0.500");
    }

    #[test]
    fn nothing_is_nothing_of_the_unit_and_odd_values_are_readable() {
        let nothing = [
            Bytes(0.0).human(),
            Bytes(-0.0).human(),
            Joules(0.0).human(),
            Watts(0.0).human(),
            Seconds(0.0).human(),
            JoulesPerToken(0.0).human(),
            TokensPerSecond(0.0).human(),
            Fraction(0.0).human(),
        ];
        assert_eq!(nothing, ["0 B", "0 B", "0 J", "0 W", "0 s", "0 J/tok", "0 tok/s", "0 %"]);
        assert_eq!((BytesPerSecond(0.0).human(), OpsPerSecond(0.0).human()), ("0 MB/s".into(), "0 MOP/s".into()));
        let bytes = |value: f64| Bytes(value).human();
        assert_eq!([bytes(0.3), bytes(1.0), bytes(1023.0), bytes(1024.0)], ["0.300 B", "1.00 B", "1023 B", "1.00 KiB"]);
        assert_eq!([bytes(-1536.0), bytes(-3.0 * 1024f64.powi(4))], ["-1.50 KiB", "-3.00 TiB"]);
        assert_eq!([bytes(1024f64.powi(3) - 1.0), bytes(5e18)], ["1.00 GiB", "4547474 TiB"]);
        assert_eq!([bytes(1e300), bytes(f64::INFINITY), bytes(f64::NAN)], ["9.09e287 TiB", "inf TiB", "-"]);
        assert_eq!([Seconds(0.9997).human(), Seconds(0.9994).human()], ["1.00 s", "999 ms"]);
        assert_eq!([Seconds(1e-21).human(), Seconds(-2e-3).human()], ["1.00e-12 ns", "-2.00 ms"]);
        assert_eq!([Fraction(f64::NAN).human(), TokensPerSecond(f64::NAN).human()], ["-", "-"]);
        assert_eq!([digits(1e-12), digits(-2.5e20), digits(f64::NEG_INFINITY)], ["1.00e-12", "-2.50e20", "-inf"]);
    }

    #[test]
    fn rates_have_their_unit() {
        assert_eq!(TokensPerSecond(12.34).human(), "12.3 tok/s");
        assert_eq!(RequestsPerSecond(0.5).human(), "0.500 req/s");
        assert_eq!(Fraction(1.0).human(), "100 %");
    }

    #[test]
    fn money_is_exact_and_keeps_small_amounts_visible() {
        let price = Usd(Decimal::new(1, 1)) // 0.1
            .times(3.0)
            .unwrap();
        assert_eq!(price, Usd(Decimal::new(3, 1)));
        assert_eq!(Usd(Decimal::new(1234567, 3)).to_string(), "$1234.57");
        assert_eq!(Usd(Decimal::new(123, 6)).to_string(), "$0.000123");
        assert_eq!(Usd(Decimal::ONE).times(f64::NAN), None);
        for (usd, part) in [("0", "above 0"), ("-5", "above 0"), ("1e9", "more than"), ("0.00005", "less than")] {
            let usd = Usd(Decimal::from_scientific(usd).or(usd.parse()).unwrap());
            assert!(usd.hourly_fault().is_some_and(|why| why.contains(part)), "{usd}");
        }
        assert_eq!((Usd(Decimal::new(12, 2)).hourly_fault(), Usd(Decimal::from(1020)).hourly_fault()), (None, None));
    }

    #[test]
    fn power_and_energy_convert() {
        assert_eq!(Watts(10.0) * Seconds(3.0), Joules(30.0));
        assert_eq!(Joules(30.0) / Seconds(3.0), Watts(10.0));
    }

    proptest! {
        #[test]
        fn units_convert_back(value in 1e-3f64..1e3, seconds in 1e-3f64..1e5, factor in 1e-3f64..1e3) {
            let power = (Watts(value) * Seconds(seconds)) / Seconds(seconds);
            prop_assert!((power.0 / value - 1.0).abs() < 1e-12);
            prop_assert!((Seconds::from_si(Seconds(value).si()).0 - value).abs() == 0.0);
            let price = Usd(Decimal::from_f64_retain(value).unwrap().round_dp(9));
            let back = price.times(factor).unwrap().times(1.0 / factor).unwrap();
            prop_assert!((back.to_f64() / price.to_f64() - 1.0).abs() < 1e-9, "{price} {back}");
        }

        #[test]
        fn digits_stay_within_half_a_percent(value in 1e-6f64..1e9) {
            let shown: f64 = digits(value).parse().unwrap();
            prop_assert!((shown / value - 1.0).abs() <= 0.00502, "{value} -> {shown}");
        }
    }
}
