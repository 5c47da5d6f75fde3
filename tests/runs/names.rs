//! Names of what can be one of few: distinct, read back as what they name, and those that files hold.

use serde::Serialize;
use sizewell::engine::endpoint::Api;
use sizewell::engine::target::{CountedBy, RequestOutcome};
use sizewell::names::names;
use sizewell::power::Throttle;
use sizewell::record::{Basis, FailureKind, InvalidReason, Outcome, StopReason};
use sizewell::workload::pruning::Method;
use sizewell::workload::traffic::TimeUnit;
use sizewell::workload::{Encoding, Task};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;
use strum::VariantArray;

/// No two variants have one name, and what shows them writes that name.
fn distinct<T: VariantArray + Copy + Into<&'static str> + Display>() {
    let names = names::<T>();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
    for (variant, name) in T::VARIANTS.iter().zip(names) {
        assert_eq!(format!("{variant:>30}"), format!("{name:>30}"));
    }
}

/// Names read back as what they name.
fn reads_back<T>()
where
    T: VariantArray + Copy + Into<&'static str> + Display + FromStr<Err: Display> + PartialEq,
{
    distinct::<T>();
    for (variant, name) in T::VARIANTS.iter().zip(names::<T>()) {
        assert!(name.parse::<T>().is_ok_and(|read| read == *variant), "{name}");
    }
    assert!("neither".parse::<T>().is_err());
}

/// Serde writes the same name.
fn serde_agrees<T: VariantArray + Copy + Into<&'static str> + Serialize>() {
    for (variant, name) in T::VARIANTS.iter().zip(names::<T>()) {
        assert_eq!(serde_json::to_value(variant).unwrap(), name);
    }
}

#[test]
fn names_are_distinct_read_back_and_are_those_of_serde() {
    macro_rules! of {
        ($check:ident: $($type:ty),*) => { $($check::<$type>();)* };
    }
    of!(distinct: RequestOutcome, CountedBy, Throttle, Encoding);
    of!(reads_back: Outcome, FailureKind, InvalidReason, StopReason, Basis, Task, Method, TimeUnit, Api);
    of!(serde_agrees: Outcome, FailureKind, InvalidReason, StopReason, Basis, Task);
}

#[test]
fn another_name_is_refused_with_those_there_are() {
    assert_eq!("okay".parse::<Outcome>().unwrap_err(), "`okay` is none of ok, skipped, failed");
    assert_eq!("m".parse::<TimeUnit>().unwrap_err(), "`m` is none of s, ms, us, ns");
}
