//! (5) What a measurement leaves behind: the run folder, and the types that it holds. What stands before this
//! module writes a run folder; what stands after it reads one.

pub mod atomic_file;
pub mod bits;
pub mod case_row;
pub mod ceiling;
pub mod clock;
pub mod coldstart;
pub mod comparable;
pub mod device;
pub mod drift;
pub mod environment;
pub mod evaluation;
pub mod finished;
pub mod folder;
pub mod import;
pub mod metric;
pub mod outcome;
pub mod plausible;
/// Which build of the program this is.
pub mod program;
pub mod quality;
pub mod quality_record;
pub mod reader;
mod record_fault;
pub mod request_row;
pub mod run;
pub mod sample;
pub mod schema;
pub mod slo;
pub mod systems;
pub mod traffic;

pub use case_row::{CaseKey, CaseRow};
pub use ceiling::{Bound, Ceiling, CeilingKind};
pub use drift::{BaselineRecord, DriftSet, DriftTest, DriftWindow};
pub use environment::Environment;
pub use evaluation::Evaluation;
pub use folder::RunFolder;
pub use import::{FileRecord, HostRecord, ImportRecord, SkippedRecord, SystemRecord};
pub use metric::{Distribution, Estimate, METRICS, Metric, Metrics};
pub use outcome::{Basis, FailureKind, InvalidReason, Outcome, STOPPED_BY_QUOTA, StopReason};
pub use quality::{ItemRow, QualityRow};
pub use quality_record::{CalibrationRecord, DataRecord, QualityRecord, VariantRecord};
pub use reader::Run;
pub use request_row::{RequestLog, RequestRow};
pub use run::{EngineRecord, LoadRecord, ModelRecord, RunRecord, RunStatus};
pub use sample::{PowerRow, SampleRow};
pub use slo::{Slo, SloTerm};
pub use traffic::{
    CutShort, Latency, LatencyKind, LimitKind, LimitRecord, Moment, PhaseTimes, Ranged, RecoveryRecord,
    SchedulerRecord, StepRecord, StepVerdict, TermRecord, TrafficRecord,
};
