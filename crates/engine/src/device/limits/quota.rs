//! Quotas of CPU time, and the stops that they made.

use super::super::cpu::read;
use super::groups::Groups;
use super::seen;
use crate::record::environment::whole_cpus;
use crate::units::Seconds;
use std::path::{Path, PathBuf};

/// So many CPUs' worth of time in every period; then all threads of the group stand until the next.
///
/// What may be carried over from a period with less (`cpu.max.burst`) adds nothing over time and is left out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CpuQuota {
    /// CPUs, such as 0.5.
    pub cpus: f64,
    /// The period.
    pub period: Seconds,
    /// The file that says so.
    pub from: String,
}

impl CpuQuota {
    /// Threads that run all the time without being stopped.
    pub fn threads(&self) -> usize {
        whole_cpus(self.cpus)
    }
}

/// How often and how long a group was stopped since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Throttling {
    /// CPUs of its quota.
    pub cpus: f64,
    /// Periods in which it had anything to do.
    pub periods: f64,
    /// Those of them in which it was stopped.
    pub stopped: f64,
    /// Seconds that it stood, of all CPUs together.
    pub stood: Seconds,
}

/// Every level that has a quota, with its counters.
fn quotas(root: &Path, groups: &Groups) -> Vec<(CpuQuota, PathBuf)> {
    let all = groups.unified.iter().map(|level| (level, unified(root, level)));
    let all = all.chain(groups.cpu.iter().map(|level| (level, first_version(root, level))));
    all.filter_map(|(level, quota)| Some((quota?, level.join("cpu.stat")))).collect()
}

/// The tightest quota.
pub(super) fn tightest(root: &Path, groups: &Groups) -> Option<CpuQuota> {
    quotas(root, groups).into_iter().map(|(quota, _)| quota).min_by(|a, b| a.cpus.total_cmp(&b.cpus))
}

/// `cpu.max` of version 2: `5000 100000`, or `max 100000`.
fn unified(root: &Path, level: &Path) -> Option<CpuQuota> {
    let file = level.join("cpu.max");
    let text = read(&file)?;
    let mut words = text.split_whitespace();
    let quota: f64 = words.next()?.parse().ok()?;
    let period: f64 = words.next().map_or(Some(100_000.0), |word| word.parse().ok())?;
    of(quota, period, seen(root, &file))
}

/// Version 1, where no quota is -1.
fn first_version(root: &Path, level: &Path) -> Option<CpuQuota> {
    let file = level.join("cpu.cfs_quota_us");
    let quota: f64 = read(&file)?.parse().ok()?;
    let period: f64 = read(level.join("cpu.cfs_period_us"))?.parse().ok()?;
    of(quota, period, seen(root, &file))
}

fn of(quota_us: f64, period_us: f64, from: String) -> Option<CpuQuota> {
    let is_one = quota_us > 0.0 && period_us > 0.0 && quota_us.is_finite();
    is_one.then(|| CpuQuota { cpus: quota_us / period_us, period: Seconds(period_us / 1e6), from })
}

impl Throttling {
    /// The counters of every level that has a quota, in an order that stays.
    pub fn read(root: &Path) -> Vec<Self> {
        let counted = |(quota, file): (CpuQuota, PathBuf)| {
            let text = read(file)?;
            let field = |name: &str| {
                let mut lines = text.lines().filter_map(|line| line.split_once(' '));
                lines.find_map(|(key, value)| (key == name).then(|| value.trim().parse::<f64>().ok()).flatten())
            };
            // Microseconds in version 2, nanoseconds in version 1.
            let stood = field("throttled_usec").map(|us| us / 1e6).or(field("throttled_time").map(|ns| ns / 1e9));
            Some(Self {
                cpus: quota.cpus,
                periods: field("nr_periods")?,
                stopped: field("nr_throttled")?,
                stood: Seconds(stood.unwrap_or(0.0)),
            })
        };
        quotas(root, &Groups::find(root)).into_iter().filter_map(counted).collect()
    }

    /// What happened from `self` to `later`.
    pub fn until(&self, later: &Self) -> Self {
        Self {
            cpus: later.cpus,
            periods: (later.periods - self.periods).max(0.0),
            stopped: (later.stopped - self.stopped).max(0.0),
            stood: Seconds((later.stood.0 - self.stood.0).max(0.0)),
        }
    }

    /// Share of the periods in which the group was stopped.
    pub fn share(&self) -> f64 {
        if self.periods > 0.0 { self.stopped / self.periods } else { 0.0 }
    }
}
