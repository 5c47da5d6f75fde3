//! What the system grants this process of the machine: a quota of CPU time, a set of CPUs, memory. Each may be limited at
//! several places at once, and the tightest decides.

mod groups;
mod memory;
mod quota;

pub use memory::MemoryLimit;
pub use quota::{CpuQuota, Throttling};

use super::cpu::{in_words, parse_cpu_list, read};
use crate::record::environment::LimitsRecord;
use crate::units::Bytes;
use groups::Groups;
use std::path::Path;

/// All limits that were found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// The tightest quota of CPU time.
    pub quota: Option<CpuQuota>,
    /// CPUs of the process's control group; every one where nothing is said.
    pub cpuset: Option<Vec<usize>>,
    /// Every limit of memory, with what is used under it.
    pub memory: Vec<MemoryLimit>,
    /// Memory that may be swapped out: 0 where it may not.
    pub swap: Option<Bytes>,
}

impl Limits {
    /// Reads the limits of the system under `root` (`/` but for tests). What cannot be read limits nothing.
    pub fn read(root: &Path) -> Self {
        let groups = Groups::find(root);
        Self {
            quota: quota::tightest(root, &groups),
            cpuset: cpuset(&groups),
            memory: memory::all(root, &groups),
            swap: memory::swap(root, &groups),
        }
    }

    /// The limit under which the least memory is left.
    pub fn tightest_memory(&self) -> Option<&MemoryLimit> {
        self.memory.iter().min_by(|a, b| a.left().0.total_cmp(&b.left().0))
    }

    /// The lowest limit of memory, whatever is used.
    pub fn lowest_memory(&self) -> Option<&MemoryLimit> {
        self.memory.iter().min_by(|a, b| a.limit.0.total_cmp(&b.limit.0))
    }

    /// What a record says of them on a machine with `memory` and the CPUs of `online`; `None` where nothing is limited.
    pub fn record(&self, memory: Bytes, online: &[usize]) -> Option<LimitsRecord> {
        let lowest = self.lowest_memory().filter(|lowest| lowest.limit.0 < memory.0);
        let cpuset = self.cpuset.as_ref().filter(|set| online.iter().any(|cpu| !set.contains(cpu)));
        let limited = self.quota.is_some() || cpuset.is_some() || lowest.is_some();
        limited.then(|| LimitsRecord {
            cpu_quota: self.quota.as_ref().map(|quota| quota.cpus),
            cpu_quota_period_s: self.quota.as_ref().map(|quota| quota.period),
            cpu_quota_from: self.quota.as_ref().map(|quota| quota.from.clone()),
            cpuset: cpuset.map(|set| in_words(set)),
            memory_bytes: lowest.map(|lowest| lowest.limit),
            memory_used_bytes: lowest.map(|lowest| lowest.used),
            memory_from: lowest.map(|lowest| lowest.from.clone()),
            swap_bytes: self.swap,
        })
    }
}

/// CPUs of the group: the nearest level that names any decides, as it lies within those above.
fn cpuset(groups: &Groups) -> Option<Vec<usize>> {
    let nearest = |levels: &[std::path::PathBuf], names: &[&str]| {
        levels.iter().find_map(|level| names.iter().find_map(|name| read(level.join(name))))
    };
    let list = nearest(&groups.unified, &["cpuset.cpus.effective"])
        .or_else(|| nearest(&groups.cpuset, &["cpuset.effective_cpus", "cpuset.cpus"]))?;
    parse_cpu_list(&list).ok()
}

/// Processes that the system has killed for want of memory: in this process's group, or where groups do not count them, in
/// the whole system.
pub fn out_of_memory(root: &Path) -> Option<u64> {
    let count = |path: std::path::PathBuf| {
        let text = read(path)?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
    };
    let groups = Groups::find(root);
    let unified = groups.unified.first().and_then(|level| count(level.join("memory.events")));
    let own = unified.or_else(|| count(groups.memory.first()?.join("memory.oom_control")));
    own.or_else(|| count(root.join("proc/vmstat")))
}

/// A path within `root` as the process sees it.
fn seen(root: &Path, path: &Path) -> String {
    Path::new("/").join(path.strip_prefix(root).unwrap_or(path)).display().to_string()
}

#[cfg(test)]
mod tests;
