//! How a case ended, whether its numbers can be trusted, and where a figure comes from.

use crate::names::none_of;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

/// Whether a case was measured.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_ty = String, parse_err_fn = none_of::<Outcome>)]
pub enum Outcome {
    /// Measured.
    Ok,
    /// Not tried, because it could not have worked.
    Skipped,
    /// Tried, and did not work.
    Failed,
}

impl Outcome {
    /// The name in files.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Why a case was skipped or failed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_ty = String, parse_err_fn = none_of::<FailureKind>)]
pub enum FailureKind {
    /// More memory than there is.
    DoesNotFit,
    /// The engine or the model cannot do it.
    Unsupported,
    /// The model could not be read.
    ModelError,
    /// An iteration did not end in time.
    TimedOut,
    /// The engine panicked.
    Crashed,
    /// The process was killed while the case ran: most often because memory ran out.
    Killed,
    /// A logit was infinite or not a number.
    NotFinite,
    /// The engine did not deliver the tokens that were asked for.
    WrongTokenCount,
    /// The device was lost in it: an error after which nothing works there until another process begins.
    DeviceLost,
    /// Anything else.
    EngineError,
}

impl FailureKind {
    /// The name in files.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl FailureKind {
    /// Whether such a case was not even tried.
    pub fn outcome(self) -> Outcome {
        match self {
            Self::DoesNotFit | Self::Unsupported => Outcome::Skipped,
            _ => Outcome::Failed,
        }
    }
}

/// Why a measured case should not be relied on.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_ty = String, parse_err_fn = none_of::<InvalidReason>)]
pub enum InvalidReason {
    /// Warm-up ended before iterations agreed.
    Unsteady,
    /// The interval of the median is wide.
    Noisy,
    /// Too few iterations for an interval.
    TooFewSamples,
    /// Other processes used the CPU.
    ForeignLoad,
    /// Other processes computed on the card.
    ForeignProcess,
    /// The hypervisor gave the CPU to somebody else.
    StolenCpu,
    /// The device throttled.
    Throttled,
    /// A quota of CPU time stopped the process.
    CpuQuota,
    /// The engine had more threads than CPUs.
    TooManyThreads,
    /// The load generator sent its requests too late.
    LateGenerator,
    /// Requests came faster than they were answered.
    OverSaturated,
    /// Requests failed, and are not in the times.
    FailedRequests,
    /// The engine's kernels did more than once what the device need do once.
    SlowKernels,
}

impl InvalidReason {
    /// The name in files.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// From this share of requests that failed on, the times of the others are in doubt.
const MOST_FAILED: f64 = 0.01;

impl InvalidReason {
    /// Whether so many failed of so many requests that the times of the others are in doubt.
    pub fn of_failures(failed: u64, requests: u64) -> Option<Self> {
        (failed > 0 && failed as f64 >= MOST_FAILED * requests as f64).then_some(Self::FailedRequests)
    }

    /// What to do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Unsteady => "speed was still changing when warm-up ended: run longer (--workload thorough)",
            Self::Noisy => "the interval of the median is wide: raise --max-time, or use a quieter machine",
            Self::TooFewSamples => {
                "an iteration takes too long for the time limit: raise --max-time (of `sizewell load`: --duration, --requests)"
            }
            Self::ForeignLoad => {
                "other processes used the CPU: stop them and run again, or leave them CPUs of their own (fewer --threads, --pin)"
            }
            Self::ForeignProcess => {
                "other processes computed on the card (nvidia-smi lists them): stop them and run again"
            }
            Self::StolenCpu => "the hypervisor took CPU time away: use a dedicated instance, or run again",
            Self::Throttled => {
                "the device lowered its clock for heat or its power supply: cool it, or accept the throttled speed"
            }
            Self::CpuQuota => {
                "a quota of CPU time stopped the process for a part of every period: times are means over all of it; raise the \
                 quota, use fewer --threads, or take them for what this quota delivers"
            }
            Self::TooManyThreads => {
                "the engine had more threads than CPUs to run them: lower --threads, or leave it out"
            }
            Self::LateGenerator => {
                "requests were sent late: run the generator on a machine of its own, or at a lower rate"
            }
            Self::OverSaturated => {
                "requests came faster than they were answered: the times are those of a growing queue; lower --rate"
            }
            Self::FailedRequests => {
                "requests failed, and the times are those of the others: find out why (the server's log), and run again"
            }
            Self::SlowKernels => {
                "the engine's kernels move the weights more than once a step at this batch: the card can do better, so do not \
                 buy by this row; measure it behind a server that batches (`sizewell load --endpoint`)"
            }
        }
    }
}

/// What a remark begins with that says how far a quota of CPU time stopped a case.
pub const STOPPED_BY_QUOTA: &str = "stopped by a CPU quota";

/// Why a measurement stopped.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_ty = String, parse_err_fn = none_of::<StopReason>)]
pub enum StopReason {
    /// The interval is as narrow as was asked.
    Converged,
    /// The time was up first.
    TimeLimit,
    /// The sample limit was reached first.
    SampleLimit,
}

impl StopReason {
    /// The name in files.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Where a figure comes from.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    schemars::JsonSchema,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_ty = String, parse_err_fn = none_of::<Basis>)]
pub enum Basis {
    /// By this program, on the hardware that it is about.
    #[default]
    Measured,
    /// By another tool.
    Imported,
    /// Computed from measurements of other hardware.
    Projected,
}

impl Basis {
    /// The name in files.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back_and_unknown_ones_list_what_is_known() {
        assert_eq!("timed_out".parse(), Ok(FailureKind::TimedOut));
        assert_eq!(FailureKind::TimedOut.to_string(), "timed_out");
        assert!("okay".parse::<Outcome>().unwrap_err().contains("ok, skipped, failed"));
    }
}
