//! A gate's verdicts as workflow commands, which GitHub's CI shows beside the change.

use crate::gate::{Judgement, Verdict};

/// One line for each rule and case that did not pass.
pub fn lines(judgement: &Judgement) -> String {
    let mut out = String::new();
    for judged in &judgement.judged {
        let level = match judged.verdict {
            Verdict::Pass => continue,
            Verdict::Fail | Verdict::Invalid => "error",
            Verdict::CannotTell => "warning",
        };
        let title = format!("sizewell gate, {}: {}", judged.verdict, judged.rule);
        let rerun = judged.rerun.as_ref().map_or(String::new(), |rerun| format!("\n{}", rerun.words));
        let message = format!("{}: {}{rerun}", judged.case, judged.message);
        out.push_str(&format!("::{level} title={}::{}\n", property(&title), data(&message)));
    }
    out
}

/// Text of a command: what would end the line or begin another is escaped as the runner unescapes it.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_begins_a_command_of_its_own() {
        assert_eq!(data("50 %\n::set-env name=x::y"), "50 %25%0A::set-env name=x::y");
        assert_eq!(property("a: b, c"), "a%3A b%2C c");
    }
}
