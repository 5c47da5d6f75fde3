//! Limits of memory: of every level of the process's control groups, and of the process itself.

use super::super::cpu::read;
use super::groups::Groups;
use super::seen;
use crate::units::Bytes;
use std::path::Path;

/// A limit beyond this is none: version 1 writes the largest number of pages.
const NO_LIMIT: f64 = 1e15;

/// So much memory may be used, beyond which the system kills, stalls or refuses.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MemoryLimit {
    /// The limit.
    pub limit: Bytes,
    /// What is used of it now and cannot be taken back, as cached files can.
    pub used: Bytes,
    /// The file or the limit that says so.
    pub from: String,
}

impl MemoryLimit {
    /// What can still be had.
    pub fn left(&self) -> Bytes {
        Bytes((self.limit.0 - self.used.0).max(0.0))
    }
}

/// A number in a file; `max` and what is beyond reason are none.
fn number(path: impl AsRef<Path>) -> Option<f64> {
    read(path)?.parse().ok().filter(|number| (0.0..NO_LIMIT).contains(number))
}

/// A line such as `inactive_file 4096` of `memory.stat`.
fn field(text: &str, name: &str) -> Option<f64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find_map(|(key, value)| (key == name).then(|| value.trim().parse::<f64>().ok()).flatten())
}

/// What a group uses, without the files that it keeps in memory and can forget.
fn used(level: &Path, usage: &str, stat: &str, prefix: &str) -> Bytes {
    let files = ["active_file", "inactive_file"].map(|name| field(stat, &format!("{prefix}{name}")).unwrap_or(0.0));
    Bytes((number(level.join(usage)).unwrap_or(0.0) - files.iter().sum::<f64>()).max(0.0))
}

/// All limits.
pub(super) fn all(root: &Path, groups: &Groups) -> Vec<MemoryLimit> {
    let mut limits = Vec::new();
    for level in &groups.unified {
        let stat = read(level.join("memory.stat")).unwrap_or_default();
        // Beyond `high` the group is not killed, and slowed down until it is useless.
        for name in ["memory.max", "memory.high"] {
            let limit = number(level.join(name)).map(Bytes);
            let used = || used(level, "memory.current", &stat, "");
            limits.extend(limit.map(|limit| MemoryLimit { limit, used: used(), from: seen(root, &level.join(name)) }));
        }
    }
    for level in &groups.memory {
        limits.extend(first_version(root, level));
        // Without a hierarchy, what is above does not count what is below.
        if read(level.join("memory.use_hierarchy")).as_deref() == Some("0") {
            break;
        }
    }
    limits.extend(of_process(root));
    limits
}

/// Limits of a group of version 1: its own, and the lowest of those above it that may not be seen otherwise.
fn first_version(root: &Path, level: &Path) -> Vec<MemoryLimit> {
    let stat = read(level.join("memory.stat")).unwrap_or_default();
    let used = used(level, "memory.usage_in_bytes", &stat, "total_");
    let own = number(level.join("memory.limit_in_bytes"));
    let above = field(&stat, "hierarchical_memory_limit").filter(|limit| *limit < own.unwrap_or(NO_LIMIT));
    let limit = |bytes: f64, name: &str| MemoryLimit { limit: Bytes(bytes), used, from: seen(root, &level.join(name)) };
    let above = above.map(|bytes| limit(bytes, "memory.stat (hierarchical_memory_limit)"));
    own.map(|bytes| limit(bytes, "memory.limit_in_bytes")).into_iter().chain(above).collect()
}

/// Limits of the process itself: of addresses, and of data (getrlimit(2)).
fn of_process(root: &Path) -> Vec<MemoryLimit> {
    let limits = read(root.join("proc/self/limits")).unwrap_or_default();
    let status = read(root.join("proc/self/status")).unwrap_or_default();
    let kilobytes = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    let kinds = [
        ("Max address space", "VmSize", "RLIMIT_AS (ulimit -v)"),
        ("Max data size", "VmData", "RLIMIT_DATA (ulimit -d)"),
    ];
    let limit = |(name, key, from): (&str, &str, &str)| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
        let soft: f64 = line.split_whitespace().next()?.parse().ok().filter(|bytes| *bytes < NO_LIMIT)?;
        let used = Bytes(kilobytes(key).unwrap_or(0.0) * 1024.0);
        Some(MemoryLimit { limit: Bytes(soft), used, from: from.to_string() })
    };
    kinds.into_iter().filter_map(limit).collect()
}

/// Memory that may be swapped out: what the machine has for it, or less where a group may use less.
pub(super) fn swap(root: &Path, groups: &Groups) -> Option<Bytes> {
    let meminfo = read(root.join("proc/meminfo"))?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("SwapTotal:"))?;
    let machine = line.split_whitespace().next()?.parse::<f64>().ok()? * 1024.0;
    let unified = groups.unified.iter().filter_map(|level| number(level.join("memory.swap.max")));
    // Version 1 limits memory and swap together.
    let first = groups.memory.iter().filter_map(|level| {
        let both = number(level.join("memory.memsw.limit_in_bytes"))?;
        Some((both - number(level.join("memory.limit_in_bytes"))?).max(0.0))
    });
    Some(Bytes(unified.chain(first).fold(machine, f64::min)))
}
