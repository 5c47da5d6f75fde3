//! The power limit of a card: what a user asks for, and a guard that puts the old one back whatever becomes of the
//! program that changed it.
//!
//! The guard is a process of its own, so that it outlives one that is killed. It alone sets limits, by lines on its
//! input; when that ends, for whatever reason, it sets the limit that it found.

use super::PowerError;
use crate::device::nvidia;
use crate::units::Watts;
use nvml_wrapper::Device;
use nvml_wrapper::error::NvmlError;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

/// The hidden verb of the command line that is the guard; its argument is the card's number.
pub const GUARD_VERB: &str = "power-guard";

/// A power limit on the command line: a share of the card's own default, or watts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PowerLimit {
    /// Of the default limit; 1 is all of it.
    Share(f64),
    /// Watts.
    Watts(f64),
}

impl FromStr for PowerLimit {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a power limit: write 80% (of the default limit) or 250W");
        let (number, share) = match (text.strip_suffix('%'), text.strip_suffix(['W', 'w'])) {
            (Some(number), _) => (number, true),
            (_, Some(number)) => (number, false),
            _ => return Err(wrong()),
        };
        match number.trim().parse::<f64>() {
            Ok(value) if value > 0.0 && value.is_finite() && share => Ok(Self::Share(value / 100.0)),
            Ok(value) if value > 0.0 && value.is_finite() => Ok(Self::Watts(value)),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for PowerLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(share) => write!(f, "{}%", (share * 1000.0).round() / 10.0),
            Self::Watts(watts) => write!(f, "{watts}W"),
        }
    }
}

/// The limits of a card.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LimitRange {
    /// In force when the guard began; comes back.
    pub found: Watts,
    /// What the card has by itself.
    pub default: Watts,
    /// The lowest that it takes.
    pub least: Watts,
    /// The highest that it takes.
    pub most: Watts,
}

impl LimitRange {
    /// What `asked` is in watts on this card, or why it cannot be.
    pub fn resolve(&self, asked: PowerLimit) -> Result<Watts, PowerError> {
        let watts = match asked {
            PowerLimit::Share(share) => Watts(self.default.0 * share),
            PowerLimit::Watts(watts) => Watts(watts),
        };
        if (self.least..=self.most).contains(&watts) {
            Ok(watts)
        } else {
            Err(PowerError(format!(
                "--power-limit {asked} is {watts}; this card takes {} to {} ({:.0}% to {:.0}% of its default of {})",
                self.least,
                self.most,
                100.0 * self.least.0 / self.default.0,
                100.0 * self.most.0 / self.default.0,
                self.default
            )))
        }
    }
}

/// The guard's side: holds the limit of card `index` (as CUDA counts) for whoever writes to `input`. Each line is a limit in
/// milliwatts, each is answered with `ok` or `error WHY`; the end of the input ends the guard.
pub fn guard(index: u32, input: impl BufRead, mut output: impl Write) -> Result<(), PowerError> {
    let opened = open(index);
    // A reader that is gone has been told enough: the limit goes back all the same.
    let mut say = |text: String| {
        let _ = writeln!(output, "{text}").and_then(|()| output.flush());
    };
    let (mut card, range) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            say(format!("error {error}"));
            return Ok(());
        }
    };
    let mw = |watts: Watts| (watts.0 * 1000.0).round() as u32;
    say(format!("ready {} {} {} {}", mw(range.found), mw(range.default), mw(range.least), mw(range.most)));
    for line in input.lines() {
        let Ok(line) = line else { break };
        match line.trim().parse::<u32>() {
            Ok(limit) => match set(&mut card, limit) {
                Ok(()) => say("ok".to_string()),
                Err(error) => say(format!("error {error}")),
            },
            Err(_) => say(format!("error `{line}` is not a number of milliwatts")),
        }
    }
    let mut restored = set(&mut card, mw(range.found));
    for _ in 0..10 {
        if restored.is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(500));
        restored = set(&mut card, mw(range.found));
    }
    match restored {
        Ok(()) => say("restored".to_string()),
        Err(PowerError(why)) => {
            let what = format!("the power limit of cuda:{index} is not what it was ({}): {why}", range.found);
            say(format!("error {what}"));
            return Err(PowerError(what));
        }
    }
    Ok(())
}

/// The card and its limits, where they may be changed: not on a card that others use too.
fn open(index: u32) -> Result<(Device<'static>, LimitRange), PowerError> {
    let nvml = nvidia::nvml().map_err(PowerError)?;
    let mut card = nvml
        .device_by_index(nvidia::index_in_nvml(nvml, index))
        .map_err(|e| PowerError(format!("cuda:{index} cannot be opened: {e}")))?;
    if nvidia::partition(&card).is_some() {
        return Err(PowerError(format!(
            "cuda:{index} is a part of a card (MIG or vGPU): its power limit is of all parts"
        )));
    }
    match nvidia::foreign_processes(&card) {
        Some(others) if others.is_empty() => {}
        Some(others) => {
            return Err(PowerError(format!(
                "cuda:{index} is shared: {} other process(es) compute on it (nvidia-smi lists them), and a power limit would be theirs too",
                others.len()
            )));
        }
        None => {
            return Err(PowerError(format!(
                "whether others use cuda:{index} cannot be told, so its power limit stays"
            )));
        }
    }
    let read = |what: &str, result: Result<u32, NvmlError>| {
        result
            .map(|mw| Watts(mw as f64 / 1000.0))
            .map_err(|e| PowerError(format!("{what} of cuda:{index} cannot be read: {e}")))
    };
    let range = card
        .power_management_limit_constraints()
        .map_err(|e| PowerError(format!("cuda:{index} does not say which power limits it takes: {e}")))?;
    let range = LimitRange {
        found: read("the power limit", card.power_management_limit())?,
        default: read("the default power limit", card.power_management_limit_default())?,
        least: Watts(range.min_limit as f64 / 1000.0),
        most: Watts(range.max_limit as f64 / 1000.0),
    };
    // Setting what is set changes nothing, and shows whether it may be.
    set(&mut card, (range.found.0 * 1000.0).round() as u32)?;
    Ok((card, range))
}

fn set(card: &mut Device<'_>, milliwatts: u32) -> Result<(), PowerError> {
    card.set_power_management_limit(milliwatts).map_err(|error| {
        PowerError(match error {
            NvmlError::NoPermission => "the power limit may be set by root only: run with sudo".to_string(),
            NvmlError::NotSupported => "this card's power limit cannot be set".to_string(),
            other => format!("the power limit cannot be set: {other}"),
        })
    })?;
    match card.power_management_limit() {
        Ok(now) if now.abs_diff(milliwatts) <= 1000 => Ok(()),
        Ok(now) => Err(PowerError(format!("the power limit was set to {milliwatts} mW and is {now} mW"))),
        Err(error) => Err(PowerError(format!("the power limit cannot be read: {error}"))),
    }
}

/// The other side: limits are asked of the guard, and it restores the old one when this is dropped.
pub struct LimitGuard {
    /// What the card takes.
    pub range: LimitRange,
    card: usize,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl LimitGuard {
    /// Starts `program power-guard card`.
    pub fn start(program: &std::path::Path, card: usize) -> Result<Self, PowerError> {
        let mut command = Command::new(program);
        command.args([GUARD_VERB, &card.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        // Signals to this program's group, such as the terminal's, are not for the guard.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let failed = |why: String| PowerError(format!("the guard of the power limit does not start: {why}"));
        let mut child = command.spawn().map_err(|e| failed(e.to_string()))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed("it has no input or output".to_string()));
        };
        let mut output = BufReader::new(output);
        let numbers = match read_answer(&mut output) {
            Some(Ok(answer)) => numbers(&answer).ok_or_else(|| failed(answer)),
            Some(Err(error)) => Err(error),
            None => Err(failed("it says nothing".to_string())),
        };
        match numbers {
            Ok([found, default, least, most]) => {
                let range = LimitRange { found, default, least, most };
                Ok(Self { range, card, child, input: Some(input), output })
            }
            Err(error) => {
                drop(input);
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Sets a limit, until another is set or the guard ends.
    pub fn set(&mut self, limit: Watts) -> Result<(), PowerError> {
        let line = format!("{}\n", (limit.0 * 1000.0).round() as u32);
        let written = self.input.as_mut().map(|input| input.write_all(line.as_bytes()).and_then(|()| input.flush()));
        match written {
            Some(Ok(())) => self.answer().map(|_| ()),
            _ => Err(PowerError("the guard of the power limit has gone".to_string())),
        }
    }

    /// Puts the limit that was found back from this process, without the guard: for a process that ends before it comes to
    /// [`Self::restore`], and whose guard may have ended too.
    pub fn put_back(&self) -> impl Fn() + Send + 'static {
        let (card, found) = (self.card, self.range.found);
        move || {
            // The guard says what went wrong, where it is there.
            let _ = restore_here(card, found);
        }
    }

    /// Restores the limit that was found, and says whether that worked.
    pub fn restore(mut self) -> Result<(), PowerError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), PowerError> {
        if self.input.take().is_none() {
            return Ok(());
        }
        let answer = self.answer();
        let _ = self.child.wait();
        match answer {
            Ok(text) if text == "restored" => Ok(()),
            // Without its guard the limit is this process's to restore.
            _ => restore_here(self.card, self.range.found),
        }
    }

    fn answer(&mut self) -> Result<String, PowerError> {
        let gone = || Err(PowerError("the guard of the power limit has gone".to_string()));
        read_answer(&mut self.output).unwrap_or_else(gone)
    }
}

/// Sets a limit again from this process.
fn restore_here(index: usize, found: Watts) -> Result<(), PowerError> {
    let set_it = || -> Result<(), PowerError> {
        let nvml = nvidia::nvml().map_err(PowerError)?;
        let mut card = nvml
            .device_by_index(nvidia::index_in_nvml(nvml, index as u32))
            .map_err(|e| PowerError(format!("the card cannot be opened: {e}")))?;
        set(&mut card, (found.0 * 1000.0).round() as u32)
    };
    set_it().map_err(|PowerError(why)| {
        let by_hand = format!("nvidia-smi -i CARD -pl {:.0}", found.0);
        PowerError(format!("the power limit of cuda:{index} is not what it was ({found}): {why}; by hand: {by_hand}"))
    })
}

/// The next line of a guard: one that begins with `error` is an error. `None` when the guard has ended.
fn read_answer(output: &mut impl BufRead) -> Option<Result<String, PowerError>> {
    let mut line = String::new();
    match output.read_line(&mut line) {
        Ok(1..) => Some(match line.trim_end().strip_prefix("error ") {
            Some(why) => Err(PowerError(why.to_string())),
            None => Ok(line.trim_end().to_string()),
        }),
        _ => None,
    }
}

/// The limits that a guard begins with.
fn numbers(answer: &str) -> Option<[Watts; 4]> {
    let parts = answer.strip_prefix("ready ")?.split(' ');
    let watts: Option<Vec<Watts>> = parts.map(|mw| Some(Watts(mw.parse::<f64>().ok()? / 1000.0))).collect();
    watts?.try_into().ok()
}

impl Drop for LimitGuard {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            // Nobody is left to hand it to.
            let _ = writeln!(std::io::stderr(), "warning: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_shares_or_watts_within_what_the_card_takes() {
        let range = LimitRange { found: Watts(600.0), default: Watts(700.0), least: Watts(200.0), most: Watts(700.0) };
        let watts = |text: &str| range.resolve(text.parse().unwrap());
        assert_eq!(watts("100%"), Ok(Watts(700.0)));
        assert_eq!(watts("450W"), Ok(Watts(450.0)));
        let error = watts("20%").unwrap_err().0;
        assert!(error.contains("140 W") && error.contains("200 W to 700 W (29% to 100%"), "{error}");
        for wrong in ["", "80", "-5%", "0%", "nan%", "infW", "%", "80 %x"] {
            assert!(wrong.parse::<PowerLimit>().is_err(), "{wrong}");
        }
        assert_eq!("62.5 %".parse::<PowerLimit>().unwrap().to_string(), "62.5%");
    }
}
