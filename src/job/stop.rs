//! Whether a job is to stop, and what it leaves to be done where the process ends before it has seen that.
//!
//! A job is handed a [`Stop`] and looks at it between two tokens or requests. Who hears the signals drives the other side:
//! it [asks](Stop::ask), sees whether the job looks at all ([`Stop::is_heeded`]) and has seen it ([`Stop::was_seen`]), and
//! where it has to end the process itself, it does what the job would have done ([`Stop::clean_up`]).

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What is done when the process ends, with the number of its guard.
type ExitAction = (u64, Box<dyn Fn() + Send>);

#[derive(Default)]
struct State {
    asked: AtomicBool,
    /// The job has seen that it is to stop, and is on its way to its end.
    seen: AtomicBool,
    /// The job looks whether it is to stop.
    heeded: AtomicBool,
    /// A process that is of no use without this one; 0 for none.
    child: AtomicU32,
    /// What is done last where the process ends before the job does.
    at_end: Mutex<Vec<ExitAction>>,
    guards: AtomicU64,
    /// What goes on with what is kept, where something does.
    goes_on_by: Mutex<Option<String>>,
}

/// Whether a job is to stop; clones are the same one.
#[derive(Clone, Default)]
pub struct Stop(Arc<State>);

impl Stop {
    /// Asks the job to stop; `false` where that was done before.
    pub fn ask(&self) -> bool {
        !self.0.asked.swap(true, Ordering::SeqCst)
    }

    /// Whether a stop was asked for. Whoever asks and is told so ends what it does.
    pub fn is_asked(&self) -> bool {
        let asked = self.flag().load(Ordering::SeqCst);
        if asked {
            self.0.seen.store(true, Ordering::SeqCst);
        }
        asked
    }

    /// The flag itself, for loops that know nothing of this type.
    pub fn flag(&self) -> &AtomicBool {
        &self.0.asked
    }

    /// From here on the job looks whether it is to stop; before, there is nothing to keep.
    pub fn heed(&self) {
        self.0.heeded.store(true, Ordering::SeqCst);
    }

    /// Whether the job looks whether it is to stop.
    pub fn is_heeded(&self) -> bool {
        self.0.heeded.load(Ordering::SeqCst)
    }

    /// Whether the job has seen that it is to stop.
    pub fn was_seen(&self) -> bool {
        self.0.seen.load(Ordering::SeqCst)
    }

    /// Names the command that goes on where the process ends in the middle of a step.
    pub fn goes_on_by(&self, command: String) {
        *self.0.goes_on_by.lock().unwrap_or_else(PoisonError::into_inner) = Some(command);
    }

    /// The command that goes on, where there is one; it waits for nobody.
    pub fn command_to_go_on(&self) -> Option<String> {
        self.0.goes_on_by.try_lock().ok().and_then(|command| command.clone())
    }

    /// Names a process that is of no use without this one, for as long as the guard lives.
    pub fn child(&self, id: u32) -> Child {
        self.0.child.store(id, Ordering::SeqCst);
        Child(self.clone())
    }

    /// Ends that process, where there is one.
    pub fn kill_child(&self) {
        #[cfg(unix)]
        if let Some(id) = rustix::process::Pid::from_raw(self.0.child.load(Ordering::SeqCst) as i32) {
            // One that has ended by now needs no killing.
            let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
        }
    }

    /// Has something done where the process ends before the job comes to its own end, which runs no destructor: a file that
    /// nobody needs any more is removed, a card gets its power limit back. For as long as the guard lives.
    pub fn at_end(&self, what: impl Fn() + Send + 'static) -> AtEnd {
        let number = self.0.guards.fetch_add(1, Ordering::SeqCst);
        self.0.at_end.lock().unwrap_or_else(PoisonError::into_inner).push((number, Box::new(what)));
        AtEnd(self.clone(), number)
    }

    /// Does what is to be done before the process ends without the job.
    pub fn clean_up(&self) {
        self.kill_child();
        self.0.at_end.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|(_, what)| what());
    }
}

/// Stands for a process that is killed with this one, for as long as it lives.
pub struct Child(Stop);

impl Drop for Child {
    fn drop(&mut self) {
        self.0.0.child.store(0, Ordering::SeqCst);
    }
}

/// Stands for what is done at the end, for as long as it lives.
pub struct AtEnd(Stop, u64);

impl Drop for AtEnd {
    fn drop(&mut self) {
        self.0.0.at_end.lock().unwrap_or_else(PoisonError::into_inner).retain(|(number, _)| *number != self.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_at_the_end_is_done_as_long_as_its_guard_lives() {
        let (stop, done) = (Stop::default(), Arc::new(AtomicU32::new(0)));
        let count = |by: u32| {
            let done = done.clone();
            stop.at_end(move || {
                done.fetch_add(by, Ordering::SeqCst);
            })
        };
        let kept = count(1);
        drop(count(10));
        stop.clean_up();
        assert_eq!(done.load(Ordering::SeqCst), 1);
        drop(kept);
        stop.clean_up();
        assert_eq!(done.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_stop_is_asked_for_once_and_seen_when_it_is_looked_at() {
        let stop = Stop::default();
        assert!(!stop.is_asked() && !stop.was_seen());
        assert!(stop.clone().ask() && !stop.ask());
        assert!(!stop.was_seen());
        assert!(stop.is_asked() && stop.was_seen());
    }
}
