//! Threads that start together and are timed until the last one is done.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Runs `work(thread, state)` on `threads` threads, again and again, as long as `more(seconds of the last round)`
/// says so. Each thread makes its own state, so that memory is first touched where it is used.
pub(crate) fn rounds<S>(
    threads: usize,
    make: impl Fn(usize) -> S + Sync,
    work: impl Fn(usize, &mut S) + Sync,
    mut more: impl FnMut(f64) -> bool,
) {
    let barrier = Barrier::new(threads + 1);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (barrier, stop, make, work) = (&barrier, &stop, &make, &work);
            scope.spawn(move || {
                let mut state = make(thread);
                barrier.wait();
                loop {
                    barrier.wait();
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    work(thread, &mut state);
                    barrier.wait();
                }
            });
        }
        barrier.wait();
        loop {
            let start = Instant::now();
            barrier.wait();
            barrier.wait();
            if !more(start.elapsed().as_secs_f64()) {
                stop.store(true, Ordering::Relaxed);
                barrier.wait();
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn every_thread_works_in_every_round() {
        let calls = AtomicUsize::new(0);
        let mut seen = 0;
        rounds(
            3,
            |thread| thread,
            |thread, state| {
                assert_eq!(thread, *state);
                calls.fetch_add(1, Ordering::Relaxed);
            },
            |seconds| {
                assert!(seconds >= 0.0);
                seen += 1;
                seen < 4
            },
        );
        assert_eq!(calls.load(Ordering::Relaxed), 12);
    }
}
