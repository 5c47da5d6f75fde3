//! The threads that compute on the CPU. A thread that has nothing to do looks for work without sleeping for a short time, as
//! waking costs more than most pieces of work take, but it never keeps a CPU from somebody who has something to do on it.
//!
//! Work is offered, not handed out: whoever is there in time takes part, and the caller does whatever nobody took. So it
//! waits for those alone that have begun, and a thread that the system does not let run, because others use its CPU, costs
//! no more than its share of the work. (A barrier that all have to reach makes two threads several times slower than one as
//! soon as somebody else computes on one of two CPUs: each of the hundreds of steps of a token then takes a turn of the
//! scheduler.)

use candle_core::utils::{get_num_threads, set_thread_affinity};
use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Mutex, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How long a thread looks for something without letting others run: a few handovers.
const SPIN: Duration = Duration::from_micros(20);
/// How long it looks on, letting others run each time: the pauses between the steps of a token, and between tokens.
const YIELD: Duration = Duration::from_micros(500);
/// How long the caller sleeps at a time when those it waits for take longer than that.
const NAP: Duration = Duration::from_micros(50);
/// Looks between two readings of the clock.
const LOOKS: u32 = 32;

/// States of a worker.
const IDLE: u32 = 0;
const OFFERED: u32 = 1;
const BUSY: u32 = 2;

/// What is to be done: called with the number of the thread. Its lifetime is that of the call of [`Pool::share`].
type Job = *const (dyn Fn(usize) + Sync);

/// A worker's state, on a cache line of its own.
#[repr(align(64))]
struct Slot {
    state: AtomicU32,
    parked: AtomicBool,
}

struct Shared {
    slots: Box<[Slot]>,
    job: UnsafeCell<Job>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: the job is written by the one caller at a time while no worker is offered it or busy with it, and read by workers
// after they took the offer.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer is used within the call that it stands for.
unsafe impl Send for Shared {}

/// The workers, and the right to call them.
pub(super) struct Pool {
    shared: &'static Shared,
    workers: Vec<Thread>,
    turn: Mutex<()>,
}

thread_local! {
    /// The thread is one of the pool's, or calls it already.
    static WITHIN: Cell<bool> = const { Cell::new(false) };
}

/// The pool of this process, with as many threads as candle is configured for, that of the caller included.
pub(super) fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(|| Pool::new(get_num_threads()))
}

/// Passes the time until `found` finds something, letting others run after a while; `None` when [`YIELD`] is over.
fn look_for<T>(mut found: impl FnMut() -> Option<T>) -> Option<T> {
    let begin = Instant::now();
    let mut waited = Duration::ZERO;
    while waited < SPIN + YIELD {
        for _ in 0..LOOKS {
            if let Some(found) = found() {
                return Some(found);
            }
            if waited < SPIN {
                spin_loop();
            } else {
                std::thread::yield_now();
                break;
            }
        }
        waited = begin.elapsed();
    }
    None
}

impl Slot {
    /// Takes the offer, where there is one.
    fn take(&self) -> Option<()> {
        let is_offered = self.state.load(SeqCst) == OFFERED;
        (is_offered && self.state.compare_exchange(OFFERED, BUSY, SeqCst, SeqCst).is_ok()).then_some(())
    }

    /// Waits for an offer and takes it.
    fn wait(&self) {
        while look_for(|| self.take()).is_none() {
            self.parked.store(true, SeqCst);
            // An offer that was made before that was seen does not wake.
            if self.state.load(SeqCst) != OFFERED {
                std::thread::park();
            }
            self.parked.store(false, SeqCst);
        }
    }

    /// Withdraws an offer that nobody took, or waits for the one who did.
    fn end(&self) {
        if self.state.compare_exchange(OFFERED, IDLE, SeqCst, SeqCst).is_ok() {
            return;
        }
        let is_idle = || (self.state.load(SeqCst) == IDLE).then_some(());
        if look_for(is_idle).is_none() {
            while is_idle().is_none() {
                std::thread::sleep(NAP);
            }
        }
    }
}

fn work(shared: &'static Shared, thread: usize) {
    set_thread_affinity();
    WITHIN.set(true);
    let slot = &shared.slots[thread];
    loop {
        slot.wait();
        // SAFETY: the offer was taken: the caller keeps the job as it is until this slot is idle again.
        let done = catch_unwind(AssertUnwindSafe(|| unsafe { (*(*shared.job.get()))(thread) }));
        if let Err(panic) = done {
            shared.panic.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(panic);
        }
        slot.state.store(IDLE, SeqCst);
    }
}

/// Ends all offers when it goes, however the caller's own part ended.
struct Offers<'a>(&'a Pool);

impl Drop for Offers<'_> {
    fn drop(&mut self) {
        self.0.shared.slots[..self.0.workers.len()].iter().for_each(Slot::end);
        WITHIN.set(false);
    }
}

impl Pool {
    fn new(threads: usize) -> Self {
        fn nothing(_: usize) {}
        let slots = (1..threads).map(|_| Slot { state: AtomicU32::new(IDLE), parked: AtomicBool::new(false) });
        let job: &'static (dyn Fn(usize) + Sync) = &nothing;
        let shared: &'static Shared =
            Box::leak(Box::new(Shared { slots: slots.collect(), job: UnsafeCell::new(job), panic: Mutex::new(None) }));
        // Where the system allows fewer threads, there are fewer.
        let start = |thread| {
            let builder = std::thread::Builder::new().name(format!("cpu-{thread}"));
            Some(builder.spawn(move || work(shared, thread)).ok()?.thread().clone())
        };
        Self { shared, workers: (0..shared.slots.len()).map_while(start).collect(), turn: Mutex::new(()) }
    }

    /// Threads that may take part, that of the caller included.
    pub(super) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `job` with the numbers of those threads that take part, and returns when all of them are done. The caller's
    /// always does, with the last number; each call must go on until nothing is left that nobody has begun.
    ///
    /// From within a job, and while another thread has its turn, the caller does all of it alone.
    pub(super) fn share(&self, job: &(dyn Fn(usize) + Sync)) {
        let last = self.workers.len();
        let turn = self.turn.try_lock();
        if last == 0 || WITHIN.get() || matches!(turn, Err(std::sync::TryLockError::WouldBlock)) {
            return job(last);
        }
        let panicked = || self.shared.panic.lock().unwrap_or_else(|e| e.into_inner()).take();
        // One that was overtaken by the caller's own is over.
        drop(panicked());
        WITHIN.set(true);
        let offers = Offers(self);
        // SAFETY: only the lifetime is changed; `offers` is dropped before `job` ends, when no worker has it any more. No
        // worker reads it meanwhile, as all are idle.
        unsafe {
            *self.shared.job.get() =
                std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(job)
        };
        for (slot, worker) in self.shared.slots.iter().zip(&self.workers) {
            slot.state.store(OFFERED, SeqCst);
            if slot.parked.load(SeqCst) {
                worker.unpark();
            }
        }
        job(last);
        drop(offers);
        let panic = panicked();
        drop(turn);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// Takes numbers below `most` until there are none.
    fn count(next: &AtomicUsize, most: usize, each: &(dyn Fn(usize) + Sync)) {
        while let Some(taken) = Some(next.fetch_add(1, SeqCst)).filter(|taken| *taken < most) {
            each(taken);
        }
    }

    #[test]
    fn everything_is_done_once_whoever_takes_part() {
        let pool = Pool::new(5);
        assert_eq!(pool.threads(), 5);
        for round in 0..300 {
            let (next, sum) = (AtomicUsize::new(0), AtomicUsize::new(0));
            pool.share(&|thread| {
                assert!(thread < 5);
                count(&next, 20, &|taken| {
                    sum.fetch_add(taken + 1, SeqCst);
                });
            });
            assert_eq!(sum.into_inner(), 210, "{round}");
            // Long enough for workers to fall asleep now and then.
            if round % 100 == 99 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    #[test]
    fn a_worker_that_is_not_there_is_not_waited_for() {
        let pool = Pool::new(2);
        let held = AtomicBool::new(true);
        let (done, began) = (AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            // The one worker is kept busy by a job of another caller.
            scope.spawn(|| {
                pool.share(&|thread| {
                    if thread == 0 {
                        began.store(true, SeqCst);
                        while held.load(SeqCst) {
                            std::thread::yield_now();
                        }
                    } else {
                        while !began.load(SeqCst) {
                            std::thread::yield_now();
                        }
                    }
                });
            });
            while !began.load(SeqCst) {
                std::thread::yield_now();
            }
            pool.share(&|thread| {
                assert_eq!(thread, 1, "the caller's own");
                done.fetch_add(1, SeqCst);
            });
            held.store(false, SeqCst);
        });
        assert_eq!(done.into_inner(), 1);
    }

    #[test]
    fn an_offer_that_nobody_took_is_withdrawn() {
        let slot = Slot { state: AtomicU32::new(OFFERED), parked: AtomicBool::new(false) };
        slot.end();
        assert_eq!(slot.take(), None, "who comes later finds nothing");
        slot.state.store(OFFERED, SeqCst);
        assert_eq!((slot.take(), slot.take()), (Some(()), None));
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let pool = Pool::new(3);
        for _ in 0..3 {
            let next = AtomicUsize::new(0);
            let job = |_| count(&next, 8, &|taken| assert!(taken != 5, "number 5"));
            assert!(catch_unwind(AssertUnwindSafe(|| pool.share(&job))).is_err());
            let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
            pool.share(&|_| {
                count(&next, 8, &|_| {
                    done.fetch_add(1, SeqCst);
                })
            });
            assert_eq!(done.into_inner(), 8);
        }
    }

    #[test]
    fn a_job_within_a_job_is_done_by_its_thread() {
        let pool = Pool::new(2);
        let inner = AtomicUsize::new(0);
        let next = AtomicUsize::new(0);
        pool.share(&|_| {
            count(&next, 4, &|_| {
                pool.share(&|_| {
                    inner.fetch_add(1, SeqCst);
                })
            })
        });
        assert_eq!(inner.into_inner(), 4);
    }
}
