//! Stopping on Ctrl-C, TERM or HUP. The first signal asks for a clean stop: what is finished is kept, and how to go on is
//! said. Loops look at that between two tokens or requests. What does not look (making gigabytes of random weights, a
//! download, a step of a library) is not waited for: the process ends by itself within a second, and what is on disk is what
//! a kill would leave, which every command can read and go on from. A second signal ends it at once, and so does the first
//! as long as there is nothing to keep.

use super::console::line;
use crate::job::Stop;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The exit status of a command that a signal stopped, whichever signal it was.
pub(crate) const STATUS: u8 = 130;

/// How long the command has to see that it is to stop.
const TO_SEE: Duration = Duration::from_millis(800);
/// How long it has, once it has seen it, to write down what it has.
const TO_WRITE: Duration = Duration::from_secs(5);
/// How often the watcher looks.
const TICK: Duration = Duration::from_millis(50);

static HANDLER: OnceLock<()> = OnceLock::new();

/// Hears signals for `stop` from here on. A job that does not look at it is ended at once. The system would do that too, but
/// not for the first process of a container, which it lets live. There is a second thread from here on.
pub(crate) fn hear(stop: &Stop) {
    HANDLER.get_or_init(|| {
        let hangup_is_ignored = ignores_hangup();
        let stop = stop.clone();
        if let Err(error) = ctrlc::set_handler(move || signalled(&stop)) {
            line(&format!("warning: Ctrl-C will not stop cleanly: {error}"));
        }
        if hangup_is_ignored {
            ignore_hangup();
        }
    });
}

fn signalled(stop: &Stop) {
    if !stop.ask() || !stop.is_heeded() {
        end(stop);
    }
    stop.kill_child();
    line("\nstopping: what is finished is kept; once more stops at once");
    // This thread has to hear the second signal.
    let watched = stop.clone();
    if std::thread::Builder::new().name("sizewell-stop".to_string()).spawn(move || watch(&watched)).is_err() {
        end(stop);
    }
}

/// Ends the process where the command does not come to its own end in time.
fn watch(stop: &Stop) {
    let asked = Instant::now();
    loop {
        std::thread::sleep(TICK);
        let patience = if stop.was_seen() { TO_WRITE } else { TO_SEE };
        if asked.elapsed() >= patience {
            let how = stop.command_to_go_on().map_or(String::new(), |command| format!("; go on with: {command}"));
            line(&format!("stopped in the middle of a step, which is lost; what was finished before it is kept{how}"));
            end(stop);
        }
    }
}

fn end(stop: &Stop) -> ! {
    stop.clean_up();
    std::process::exit(i32::from(STATUS))
}

/// Whether this process was started by `nohup`, or the like: the end of a terminal is not its end.
#[cfg(target_os = "linux")]
fn ignores_hangup() -> bool {
    // SAFETY: asking for the action of a signal changes nothing; the struct is plain numbers, for which zeros are valid.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGHUP, std::ptr::null(), &mut now) == 0 && now.sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(target_os = "linux")]
fn ignore_hangup() {
    // SAFETY: ignoring a signal runs no code of ours.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
}

#[cfg(not(target_os = "linux"))]
fn ignores_hangup() -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
fn ignore_hangup() {}
