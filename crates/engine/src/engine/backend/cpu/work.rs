//! Sharing out work over the pool of threads so that each thread gets the same part of it every time: memory that a
//! thread touched first lies near it, and one long stretch of memory is read faster than many short ones.

use super::pool::pool;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is left of one thread's part, on a cache line of its own: the next item in the low half, the end in the high one.
#[repr(align(64))]
struct Part(AtomicU64);

impl Part {
    fn new(range: Range<usize>) -> Self {
        Self(AtomicU64::new(range.start as u64 | (range.end as u64) << 32))
    }

    /// Takes the first item, or the last one.
    fn take(&self, first: bool) -> Option<usize> {
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            let (next, end) = (left & u32::MAX as u64, left >> 32);
            match (next < end, first) {
                (false, _) => None,
                (true, true) => Some((next + 1) | end << 32),
                (true, false) => Some(next | (end - 1) << 32),
            }
        });
        let left = taken.ok()?;
        Some(if first { (left & u32::MAX as u64) as usize } else { (left >> 32) as usize - 1 })
    }
}

/// Calls `work` once for each of `items`, a part of them on each thread in order; a thread that is done takes items from
/// the ends of the others' parts, and so does those of a thread that does not get to run. `space` is made once a thread.
pub(super) fn share_out<S>(items: usize, space: impl Fn() -> S + Sync, work: impl Fn(&mut S, usize) + Sync) {
    assert!(items <= u32::MAX as usize);
    let pool = pool();
    let threads = pool.threads();
    if items == 0 {
        return;
    }
    if threads == 1 || items == 1 {
        let mut space = space();
        (0..items).for_each(|item| work(&mut space, item));
        return;
    }
    let parts: Vec<Part> = (0..threads).map(|t| Part::new(items * t / threads..items * (t + 1) / threads)).collect();
    pool.share(&|thread| {
        let mut space = space();
        while let Some(item) = parts[thread].take(true) {
            work(&mut space, item);
        }
        for other in 1..threads {
            while let Some(item) = parts[(thread + other) % threads].take(false) {
                work(&mut space, item);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn each_item_is_done_once() {
        for items in [0usize, 1, 2, 3, 64, 1001] {
            let done: Vec<AtomicUsize> = (0..items).map(|_| AtomicUsize::new(0)).collect();
            share_out(
                items,
                || (),
                |(), item| {
                    done[item].fetch_add(1, Ordering::Relaxed);
                },
            );
            assert!(done.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{items}");
        }
    }

    #[test]
    fn ends_are_taken_from_both_sides() {
        let part = Part::new(3..6);
        assert_eq!(
            (part.take(true), part.take(false), part.take(true), part.take(false)),
            (Some(3), Some(5), Some(4), None)
        );
    }
}
