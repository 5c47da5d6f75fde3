//! Memory of the machine and of this process.

use super::limits::Limits;
use crate::units::Bytes;
use std::path::Path;

/// A line such as `MemAvailable:  1234 kB` of a file under `/proc`.
fn kilobytes(path: &str, key: &str) -> Option<Bytes> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    let number: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(Bytes(number * 1024.0))
}

/// Memory of the machine, or of this process where a limit leaves it less.
pub fn total() -> Bytes {
    let machine = machine();
    let lowest = Limits::read(Path::new("/")).lowest_memory().map(|lowest| lowest.limit);
    lowest.filter(|limit| limit.0 < machine.0 || machine.0 == 0.0).unwrap_or(machine)
}

/// Memory of the machine, whatever of it this process may use.
pub fn machine() -> Bytes {
    kilobytes("/proc/meminfo", "MemTotal").unwrap_or(Bytes(0.0))
}

/// Memory that can still be had without swapping.
pub fn available() -> Bytes {
    available_and_why().0
}

/// The same, and what limits it where that is not the machine.
pub fn available_and_why() -> (Bytes, Option<String>) {
    let machine = kilobytes("/proc/meminfo", "MemAvailable").unwrap_or(Bytes(f64::MAX));
    let limits = Limits::read(Path::new("/"));
    match limits.tightest_memory().filter(|tightest| tightest.left().0 < machine.0) {
        Some(tightest) => (tightest.left(), Some(format!("{} by {}", tightest.limit, tightest.from))),
        None => (machine, None),
    }
}

/// Starts a new peak of the resident set. `false` where the system does not allow it, and the peak is that of the
/// process since its start.
pub fn reset_peak() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Highest resident set since [`reset_peak`].
pub fn peak() -> Option<Bytes> {
    kilobytes("/proc/self/status", "VmHWM")
}

/// Hands freed memory back to the system, so that the peak of one level of weights does not show in the next.
pub fn return_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim only releases free pages of the allocator.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Lets the allocator keep freed buffers of up to 32 MiB, the most that glibc allows: by default it gives large ones back
/// at once, and the next pass of a model pays for every page anew.
pub fn keep_freed_buffers() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: both only change what the allocator does with memory that is freed.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 1 << 30);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_peak_follows_what_is_touched() {
        assert!(available().0 > 0.0 && total().0 >= available().0);
        if !reset_peak() {
            eprintln!("skipped: /proc/self/clear_refs cannot be written here");
            return;
        }
        let before = peak().unwrap();
        let block = vec![1u8; 64 << 20];
        assert_eq!(block.iter().step_by(4096).map(|b| *b as usize).sum::<usize>(), (64 << 20) / 4096);
        drop(block);
        let after = peak().unwrap();
        assert!(after.0 >= before.0 + (60 << 20) as f64, "{before} {after}");
    }
}
