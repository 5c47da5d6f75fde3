//! A gate's verdicts as JUnit XML, which every CI reads: a test case for each rule and case.

use crate::gate::{Judgement, Verdict};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

/// The file's text. What fails is a failure; what cannot be told or is not valid is an error, so that no CI shows it green.
pub fn export(judgement: &Judgement) -> Result<String, String> {
    let mut report = Report::new("sizewell gate");
    let mut suites: Vec<TestSuite> = Vec::new();
    for judged in &judgement.judged {
        let status = match judged.verdict {
            Verdict::Pass => TestCaseStatus::success(),
            verdict => {
                let kind = if verdict == Verdict::Fail { NonSuccessKind::Failure } else { NonSuccessKind::Error };
                let mut status = TestCaseStatus::non_success(kind);
                status.set_type(verdict.words()).set_message(judged.message.clone());
                if let Some(rerun) = &judged.rerun {
                    let command = rerun.command.as_deref().unwrap_or_default();
                    status.set_description(format!("{}\n{command}", rerun.words));
                }
                status
            }
        };
        let mut case = TestCase::new(judged.case.clone(), status);
        case.set_classname(judged.metric.clone());
        case.set_system_out(judged.message.clone());
        match suites.iter_mut().find(|suite| suite.name.as_str() == judged.rule) {
            Some(suite) => {
                suite.add_test_case(case);
            }
            None => {
                let mut suite = TestSuite::new(judged.rule.clone());
                suite.add_test_case(case);
                suites.push(suite);
            }
        }
    }
    report.add_test_suites(suites);
    report.to_string().map_err(|e| e.to_string())
}
