//! Whether the times of two runs can stand side by side at all.

use super::run::RunRecord;

/// How load was offered. In a closed loop a slow server is asked less, which hides its tail; in an open one it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loop {
    /// Batches, one after the other.
    Batch,
    Closed,
    Open,
    Offline,
    Unknown,
}

impl Loop {
    pub(super) fn of(arrival: &str) -> Self {
        match arrival {
            "closed_batch" => Self::Batch,
            a if a.starts_with("closed") => Self::Closed,
            a if a.starts_with("open") => Self::Open,
            "offline" => Self::Offline,
            _ => Self::Unknown,
        }
    }

    /// Requests to a server make one curve, however they came; batches another.
    pub(super) fn family(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Closed | Self::Open | Self::Offline => "requests",
            Self::Unknown => "unknown",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Batch | Self::Closed => "in a closed loop",
            Self::Open => "in an open loop",
            Self::Offline => "all at once",
            Self::Unknown => "in a way that is not known",
        }
    }
}

/// Whose words for the times are the project's own: vLLM's and MLPerf's.
pub(super) fn definitions(record: &RunRecord) -> String {
    let name = record.metric_definitions.split([':', ' ', ',']).next().unwrap_or("").to_lowercase();
    match name.as_str() {
        "mlperf" | "aiperf" => "vllm".to_string(),
        _ => name,
    }
}

/// The rate that was sent in an open loop, where it was given rather than looked for.
fn sent(record: &RunRecord) -> Option<f64> {
    let traffic = record.traffic.as_ref().filter(|traffic| traffic.limit.is_none())?;
    let step = traffic.steps.first().filter(|step| step.arrival.starts_with("open"))?;
    Some(step.offered_requests_per_s.0)
}

/// Why the times of two runs cannot be compared; `None` where they can.
pub fn obstacle(a: &RunRecord, b: &RunRecord) -> Option<String> {
    let (one, other) = (Loop::of(&a.arrival), Loop::of(&b.arrival));
    if one.words() != other.words() {
        return Some(format!(
            "requests came {} in one and {} in the other: their tails are not those of the same load",
            one.words(),
            other.words()
        ));
    }
    if let (Some(sent), Some(other)) = (sent(a), sent(b)) {
        let alike = (sent / other - 1.0).abs() < 0.01;
        if !alike || a.arrival != b.arrival {
            return Some(format!(
                "{} requests came a second in one ({}) and {} in the other ({})",
                crate::units::digits(sent),
                a.arrival.replace('_', " "),
                crate::units::digits(other),
                b.arrival.replace('_', " ")
            ));
        }
    }
    if definitions(a) != definitions(b) {
        return Some(format!(
            "the times of one are by the definitions of {}, those of the other by {}'s",
            definitions(a),
            definitions(b)
        ));
    }
    None
}
