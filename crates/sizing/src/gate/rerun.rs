//! How many samples would tell what these could not.

use super::side::Side;
use crate::workload::Case;
use crate::workload::input::Axis;
use serde::Serialize;

/// An interval has to be this much narrower than the distance to the limit, so that four of five repetitions tell:
/// `(1.96 + 0.84) / 1.96`.
const POWER: f64 = 1.43;
/// More samples than this are not worth suggesting.
const MOST: f64 = 50_000.0;

/// How many iterations or runs would tell.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RerunAdvice {
    /// Samples that each run would need; `None` where no practical number would do.
    pub samples: Option<usize>,
    /// Runs a side, where what differs is the runs.
    pub runs: Option<usize>,
    /// What to type.
    pub command: Option<String>,
    /// In words.
    pub words: String,
}

/// To tell a value from a limit that is `distance` away (on a logarithmic scale: as a share), where an interval of
/// `half_width` did not.
pub fn suggest(side: &Side, case: Case, distance: f64, half_width: f64, relative: bool) -> RerunAdvice {
    let row = side.rows(case).next();
    let samples = row.map_or(0, |row| row.samples).max(1) as f64;
    let runs = side.runs.len();
    if distance <= 0.0 {
        let words =
            "it lies within what such machines differ by: compare on one machine, or set noise_floor in the policy";
        return RerunAdvice { samples: None, runs: None, command: None, words: words.to_string() };
    }
    let factor = (POWER * half_width / distance).powi(2);
    let needed = (samples * factor).ceil();
    if !needed.is_finite() || needed > MOST {
        let words = "the value lies on the limit: no practical number of samples would tell; move the limit, or decide \
                     that it is good enough";
        return RerunAdvice { samples: None, runs: None, command: None, words: words.to_string() };
    }
    if runs > 1 {
        let wanted = (runs as f64 * factor).ceil().max(runs as f64 + 1.0) as usize;
        let words = format!("about {wanted} runs a side would tell, as runs differ by more than their samples");
        return RerunAdvice { samples: None, runs: Some(wanted), command: None, words };
    }
    let needed = needed.max(samples + 1.0);
    // Of two sides each gives a half of the squared width.
    let sides = if relative { 2f64.sqrt() } else { 1.0 };
    let precision = (distance / POWER / sides).clamp(0.0005, 0.5);
    let seconds = row.and_then(|row| row.metrics.e2e).map(|e2e| (e2e.median.0 * needed * 1.3).max(1.0).ceil());
    let model = side.first().run.record.model.as_ref();
    // Traffic is not told by its case: the command line of the run says what it was.
    let is_traffic = side.first().run.record.traffic.is_some();
    let asked = model.zip(seconds).zip(arguments(case)).filter(|_| !is_traffic);
    let command = asked.map(|((model, seconds), arguments)| {
        format!(
            "sizewell profile --model {} --quant {} --batch {}{} --precision {precision:.4} --max-time {seconds}",
            quoted(model.location.as_deref().unwrap_or(&model.name)),
            case.quant,
            case.batch,
            arguments
        )
    });
    let both = if relative { " on both sides" } else { "" };
    let what = if is_traffic { "requests" } else { "iterations" };
    let words = format!("about {needed} {what}{both} would tell, of {samples} here");
    RerunAdvice { samples: Some(needed as usize), runs: None, command, words }
}

/// The axes of a case beside its level and batch, as arguments; `None` where no command takes such an input.
fn arguments(case: Case) -> Option<String> {
    let of = |(axis, value): &(&Axis, usize)| Some(format!(" {} {value}", axis.flag?));
    let lengths = case.input.lengths().iter().map(of).collect::<Option<String>>()?;
    Some(case.cache.map_or(lengths.clone(), |cache| format!("{lengths} --kv-cache {cache}")))
}

/// A word of a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_string()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Quant;
    use crate::workload::input::Input;
    use std::num::NonZeroUsize;

    #[test]
    fn an_input_that_no_command_takes_is_not_suggested() {
        let text = Case::new(Quant::F16, 1, 8, 4);
        assert_eq!(arguments(text).as_deref(), Some(" --prompt 8 --gen-tokens 4"));
        let audio = Input::Audio { seconds: 30, gen_tokens: NonZeroUsize::MIN };
        assert_eq!(arguments(Case { input: audio, ..text }), None);
    }

    #[test]
    fn a_name_is_one_word_of_the_shell() {
        assert_eq!(quoted("a/b-1.gguf"), "a/b-1.gguf");
        assert_eq!(quoted("x; rm 'y'"), "'x; rm '\\''y'\\'''");
    }
}
