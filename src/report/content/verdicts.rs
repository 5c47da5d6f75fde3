//! What a gate says, rule by rule.

use crate::gate::Judgement;
use crate::report::table::Table;

/// One row for each rule and case, the worst first.
pub fn verdicts(judgement: &Judgement) -> Table {
    let title = format!("Gate: {}", judgement.verdict);
    let mut table = Table::new(title, &["verdict", "rule", "case", "what was found", ">samples"]).spare(&["samples"]);
    let mut judged: Vec<_> = judgement.judged.iter().collect();
    judged.sort_by_key(|judged| {
        use crate::gate::Verdict::*;
        [Fail, Invalid, CannotTell, Pass].iter().position(|verdict| *verdict == judged.verdict)
    });
    for judged in judged {
        let samples = judged.value.map_or("-".to_string(), |value| match judged.baseline {
            Some(baseline) => format!("{}, {}", baseline.samples, value.samples),
            None => value.samples.to_string(),
        });
        table.push(vec![
            judged.verdict.to_string(),
            judged.rule.clone(),
            judged.case.clone(),
            judged.message.clone(),
            samples,
        ]);
    }
    if let Some(floor) = &judgement.noise_floor {
        table.notes.push(format!(
            "changes: {:.0} % intervals from the raw samples; nothing below {} % is claimed ({})",
            judgement.confidence * 100.0,
            crate::units::digits(floor.share * 100.0),
            floor.why
        ));
    }
    if !judgement.baseline.is_empty() && judgement.baseline.len() + judgement.runs.len() == 2 {
        table.notes.push(
            "one run a side: what differs from run to run is not in the intervals; --baseline given several times has it"
                .to_string(),
        );
    }
    table
}

/// What would tell where it could not be told; `None` where everything was.
pub fn reruns(judgement: &Judgement) -> Option<Table> {
    let mut table = Table::new("To tell what could not be told", &["rule", "case", "what it takes", "command"]);
    for judged in &judgement.judged {
        if let Some(rerun) = &judged.rerun {
            let command = rerun.command.clone().unwrap_or("-".to_string());
            table.push(vec![judged.rule.clone(), judged.case.clone(), rerun.words.clone(), command]);
        }
    }
    (!table.rows.is_empty()).then_some(table)
}
