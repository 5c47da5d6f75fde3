//! A recorded run with round numbers: a model measured on two threads of a Genoa machine.

use super::record::record;
use sizewell::record::metric::Count;
use sizewell::record::{
    Bound, CaseKey, CaseRow, Ceiling, CeilingKind, Distribution, Estimate, FailureKind, Metrics, Outcome, Run,
    RunStatus, StopReason,
};
use sizewell::units::{Bytes, Fraction, RequestsPerSecond, Seconds, TokensPerSecond};
use sizewell::workload::{Case, Quant};
use std::path::PathBuf;

fn distribution(median: f64) -> Option<Distribution<Seconds>> {
    let at = |factor: f64| Some(Seconds(median * factor));
    Some(Distribution { median: Seconds(median), lo: at(0.98), hi: at(1.02), p90: None, p99: None })
}

/// A measured case with this TTFT and TPOT.
pub fn measured(quant: Quant, batch: usize, ttft: f64, tpot: f64) -> CaseRow {
    let case = Case::new(quant, batch, 128, 33);
    let e2e = ttft + 32.0 * tpot;
    let b = batch as f64;
    let rate = |value: f64| {
        Some(Estimate {
            value: TokensPerSecond(value),
            lo: Some(TokensPerSecond(value * 0.98)),
            hi: Some(TokensPerSecond(value * 1.02)),
        })
    };
    CaseRow {
        key: CaseKey {
            engine: "candle".into(),
            model: "smollm2-135m".into(),
            device: "cpu".into(),
            case,
            arrival: None,
        },
        outcome: Outcome::Ok,
        reason: None,
        message: String::new(),
        invalid: Vec::new(),
        stop_reason: Some(StopReason::Converged),
        samples: 12,
        warmup_iterations: 4,
        metrics: Metrics {
            ttft: distribution(ttft),
            tpot: distribution(tpot),
            itl: distribution(tpot),
            e2e: distribution(e2e),
            prefill_tokens_per_s: rate(b * 128.0 / ttft),
            decode_tokens_per_s: rate(b / tpot),
            requests_per_s: Some(Estimate { value: RequestsPerSecond(b / e2e), lo: None, hi: None }),
            load: Some(Seconds(0.5)),
            peak_device: Some(Bytes(300e6)),
            weights: Some(Bytes(270e6)),
            cache: Some(Bytes(7e6)),
            decode_read: Some(Bytes(280e6)),
            prefill_ops: Some(Count(28e9 * b)),
            achieved_bandwidth: Some(Fraction(0.7)),
            achieved_flops: Some(Fraction(0.5)),
            ..Metrics::default()
        },
        absent: vec![("energy_j".into(), "no power meter".into())],
        notes: Vec::new(),
    }
}

fn ceiling(kind: CeilingKind, best: f64) -> Ceiling {
    Ceiling {
        kind,
        device: "cpu".into(),
        threads: 2,
        best,
        median: best * 0.95,
        samples: vec![best; 5],
        how: "made up".into(),
        bound: Bound::Roof,
    }
}

/// The run: three batch sizes in f16, two in int8, and a case that did not fit.
pub fn run() -> Run {
    let mut record = record();
    record.status = RunStatus::Complete;
    record.environment.cpu.model = "AMD EPYC 9R14".into();
    record.environment.cpu.signature = "25/17/1".into();
    record.environment.cpu.engine_threads = 2;
    record.ceilings = vec![
        ceiling(CeilingKind::ReadBandwidth, 40e9),
        ceiling(CeilingKind::GemmF32, 200e9),
        ceiling(CeilingKind::DotInt8, 800e9),
    ];
    let mut failed = measured(Quant::Int8, 16, 1.0, 1.0);
    failed = CaseRow::unmeasured(
        failed.key,
        FailureKind::DoesNotFit,
        "needs about 9 GiB, but only 1 GiB is available".into(),
    );
    let cases = vec![
        measured(Quant::F16, 1, 0.25, 0.010),
        measured(Quant::F16, 4, 0.80, 0.015),
        measured(Quant::F16, 16, 3.60, 0.040),
        measured(Quant::Int8, 1, 0.20, 0.010),
        measured(Quant::Int8, 4, 0.70, 0.017),
        failed,
    ];
    Run { path: PathBuf::from("results/recorded"), record, cases }
}
