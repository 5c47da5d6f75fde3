//! Output of the command line: results go to stdout, messages to stderr.

use super::load::LoadDisplay;
use super::progress::Progress;
use crate::job::Reporter;
use crate::job::reporter::{LoadProgress, SweepProgress};
pub use crate::report::terminal::{printable, printable_lines};
use std::io::{IsTerminal, Write};

/// Writes a line to stderr, what is said in it by others made harmless. Whoever closed it does not want to know: that is no
/// reason to stop measuring.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", printable_lines(text));
}

/// Messages to the terminal; they go to standard error.
#[derive(Debug, Clone, Copy)]
pub struct Console {
    quiet: bool,
}

impl Console {
    /// `quiet` leaves only errors.
    pub fn new(quiet: bool) -> Self {
        Self { quiet }
    }

    /// Says what is going on.
    pub fn say(&self, text: impl AsRef<str>) {
        if !self.quiet {
            line(text.as_ref());
        }
    }

    /// Says what may be wrong.
    pub fn warn(&self, text: impl AsRef<str>) {
        if !self.quiet {
            line(&format!("warning: {}", text.as_ref()));
        }
    }

    /// Whether a progress bar makes sense: somebody watches, and did not ask for silence.
    pub fn shows_progress(&self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }

    /// Whether plain lines of progress make sense: nobody watches a bar, but the log is wanted.
    pub fn shows_lines(&self) -> bool {
        !self.quiet && !std::io::stderr().is_terminal()
    }
}

impl Reporter for Console {
    fn note(&self, text: &str) {
        self.say(text);
    }

    fn warning(&self, text: &str) {
        self.warn(text);
    }

    fn shows_progress(&self) -> bool {
        Console::shows_progress(self)
    }

    fn sweep(&self) -> Box<dyn SweepProgress> {
        Box::new(Progress::new(self))
    }

    fn load(&self) -> Box<dyn LoadProgress> {
        Box::new(LoadDisplay::new(self))
    }
}
