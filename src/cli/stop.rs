//! Stopping on Ctrl-C, TERM or HUP. The first signal asks for a clean stop: what is finished is kept, and how to go on is
//! said. Loops look at that between two tokens or requests. What does not look (making gigabytes of random weights, a
//! download, a step of a library) is not waited for: the process ends by itself within a second, and what is on disk is what
//! a kill would leave, which every command can read and go on from. A second signal ends it at once.

use super::talk::line;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The exit status of a command that a signal stopped, whichever signal it was.
pub const STATUS: u8 = 130;

/// How long the command has to see that it is to stop.
const TO_SEE: Duration = Duration::from_millis(800);
/// How long it has, once it has seen it, to write down what it has.
const TO_WRITE: Duration = Duration::from_secs(5);
/// How often the watcher looks.
const TICK: Duration = Duration::from_millis(50);

static STOP: AtomicBool = AtomicBool::new(false);
/// The command has seen that it is to stop, and is on its way to its end.
static SEEN: AtomicBool = AtomicBool::new(false);
/// The command looks whether it is to stop.
static LOOKS: AtomicBool = AtomicBool::new(false);
static HANDLER: OnceLock<()> = OnceLock::new();
/// A process that is of no use without this one; 0 for none.
static CHILD: AtomicU32 = AtomicU32::new(0);
/// Something to be done, with the number of its guard.
type Last = (u64, Box<dyn Fn() + Send>);
/// What is done last where a signal ends the process.
static AT_END: Mutex<Vec<Last>> = Mutex::new(Vec::new());
static GUARDS: AtomicU64 = AtomicU64::new(0);

/// What goes on with what is kept, where something does.
static GOES_ON: Mutex<Option<String>> = Mutex::new(None);

/// Says what command goes on where a signal ends this one in the middle of a step.
pub fn goes_on_by(command: String) {
    *GOES_ON.lock().unwrap_or_else(PoisonError::into_inner) = Some(command);
}

/// Makes a signal end the command at once. The system would do that too, but not for the first process of a container, which
/// it lets live.
pub fn end_on_signal() {
    HANDLER.get_or_init(|| {
        let hangup_is_ignored = ignores_hangup();
        if let Err(error) = ctrlc::set_handler(signalled) {
            line(&format!("warning: Ctrl-C will not stop cleanly: {error}"));
        }
        if hangup_is_ignored {
            ignore_hangup();
        }
    });
}

/// Makes the first signal ask for a clean stop, from here on, and the second one end the command at once.
pub fn stop_on_signal() {
    LOOKS.store(true, Ordering::SeqCst);
    end_on_signal();
}

/// Whether a stop was asked for. Whoever asks and is told so ends what it does.
pub fn stop_was_asked() -> bool {
    let asked = STOP.load(Ordering::SeqCst);
    if asked {
        SEEN.store(true, Ordering::SeqCst);
    }
    asked
}

/// The flag itself, for loops that know nothing of this module.
pub fn flag() -> &'static AtomicBool {
    &STOP
}

/// A process that is killed where this one ends by a signal, for as long as the guard lives.
pub struct Child(());

impl Child {
    /// Names it.
    pub fn watched(id: u32) -> Self {
        CHILD.store(id, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        CHILD.store(0, Ordering::SeqCst);
    }
}

/// Stands for what is done at the end, for as long as it lives.
pub struct AtEnd(u64);

/// Has something done where a signal ends this process before the command comes to its own end, which runs no destructor: a
/// file that nobody needs any more is removed, a card gets its power limit back.
pub fn at_end(what: impl Fn() + Send + 'static) -> AtEnd {
    let number = GUARDS.fetch_add(1, Ordering::SeqCst);
    AT_END.lock().unwrap_or_else(PoisonError::into_inner).push((number, Box::new(what)));
    AtEnd(number)
}

impl Drop for AtEnd {
    fn drop(&mut self) {
        AT_END.lock().unwrap_or_else(PoisonError::into_inner).retain(|(number, _)| *number != self.0);
    }
}

fn signalled() {
    if STOP.swap(true, Ordering::SeqCst) || !LOOKS.load(Ordering::SeqCst) {
        end();
    }
    kill_child();
    line("\nstopping: what is finished is kept; once more stops at once");
    // This thread has to hear the second signal.
    if std::thread::Builder::new().name("sizewell-stop".to_string()).spawn(watch).is_err() {
        end();
    }
}

/// Ends the process where the command does not come to its own end in time.
fn watch() {
    let asked = Instant::now();
    loop {
        std::thread::sleep(TICK);
        let patience = if SEEN.load(Ordering::SeqCst) { TO_WRITE } else { TO_SEE };
        if asked.elapsed() >= patience {
            let goes_on = GOES_ON.try_lock().ok().and_then(|command| command.clone());
            let how = goes_on.map_or(String::new(), |command| format!("; go on with: {command}"));
            line(&format!("stopped in the middle of a step, which is lost; what was finished before it is kept{how}"));
            end();
        }
    }
}

fn kill_child() {
    #[cfg(unix)]
    if let Some(id) = rustix::process::Pid::from_raw(CHILD.load(Ordering::SeqCst) as i32) {
        // One that has ended by now needs no killing.
        let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
    }
}

fn end() -> ! {
    kill_child();
    AT_END.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|(_, what)| what());
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
