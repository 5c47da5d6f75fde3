//! Cases and rankings as JSON: every metric under its tag, `null` where it is absent, with the reason beside.

use super::sections::answer;
use super::{Exporter, Report};
use crate::record::{CaseRow, Run, metric};
use serde_json::{Map, Value, json};

/// One case.
pub fn case(row: &CaseRow) -> Value {
    let mut out = Map::new();
    let identity = [
        ("case_id", Value::from(row.key.id())),
        ("engine", row.key.engine.clone().into()),
        ("model", row.key.model.clone().into()),
        ("device", row.key.device.clone().into()),
    ];
    let result = [
        ("outcome", row.outcome.name().into()),
        ("reason", row.reason.map(|r| r.name()).into()),
        ("message", row.message.clone().into()),
        ("valid", row.is_valid().into()),
        ("invalid_reasons", row.invalid.iter().map(|r| r.name()).collect::<Vec<_>>().into()),
        ("stop_reason", row.stop_reason.map(|r| r.name()).into()),
        ("samples", row.samples.into()),
        ("warmup_iterations", row.warmup_iterations.into()),
    ];
    let columns = identity.into_iter().chain(row.key.case.columns()).chain(result);
    out.extend(columns.map(|(name, value)| (name.to_string(), value)));
    for metric in metric::all() {
        out.insert(metric.tag.to_string(), (metric.get)(&row.metrics).into());
    }
    out.insert(
        "absent".to_string(),
        row.absent
            .iter()
            .cloned()
            .collect::<std::collections::BTreeMap<_, _>>()
            .into_iter()
            .map(|(k, v)| (k, v.into()))
            .collect::<Map<_, _>>()
            .into(),
    );
    out.insert("notes".to_string(), row.notes.clone().into());
    Value::Object(out)
}

/// A run: its record and its cases.
pub fn run(run: &Run) -> Value {
    json!({
        "folder": run.path.display().to_string(),
        "record": run.record,
        "cases": run.cases.iter().map(case).collect::<Vec<_>>(),
    })
}

/// The whole report for programs.
pub struct Json;

impl Exporter for Json {
    fn extension(&self) -> &'static str {
        "json"
    }

    fn export(&self, report: &Report<'_>) -> anyhow::Result<Vec<u8>> {
        let plan = report.sensitivity.as_ref().and_then(|sensitivity| sensitivity.plan.as_ref());
        let value = json!({
            "answer": answer(report),
            "report_of": report.today().to_string(),
            "runs": report.runs.iter().map(|one| run(one)).collect::<Vec<_>>(),
            "rankings": report.rankings.as_ref().ok(),
            "no_ranking": report.rankings.as_ref().err(),
            "plan": plan.and_then(|plan| plan.as_ref().ok()),
            "quality": report.quality,
        });
        Ok(serde_json::to_vec_pretty(&value)?)
    }
}
