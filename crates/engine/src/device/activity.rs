//! How busy the machine was with other things while a case ran: foreign processes, stolen time, throttling.

use super::cpu::{allowed_cpus, read};
use super::limits::{Limits, Throttling};
use crate::units::Seconds;
use std::path::{Path, PathBuf};

/// Counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Counters {
    /// CPU seconds spent on anything, all CPUs together.
    pub busy_s: f64,
    /// CPU seconds that the hypervisor gave to somebody else.
    pub steal_s: f64,
    /// CPU seconds of this process.
    pub own_s: f64,
    /// CPU seconds that passed, all CPUs together.
    pub total_s: f64,
    /// Times that a core throttled for heat.
    pub throttles: u64,
    /// The same of the CPUs that this process may use, where they are not all: busy, and passed.
    ours: Option<(f64, f64)>,
    /// What quotas of CPU time did, level by level.
    quotas: [Option<Throttling>; MOST_LEVELS],
}

/// Levels of control groups that are looked at.
const MOST_LEVELS: usize = 8;

/// What happened between two moments, as shares of the CPU time that passed.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Activity {
    /// Other processes.
    pub foreign: f64,
    /// Stolen by the hypervisor.
    pub stolen: f64,
    /// Thermal throttling events.
    pub throttles: u64,
}

/// Reads the counters of the machine.
#[derive(Debug, Clone)]
pub struct ActivityMonitor {
    root: PathBuf,
    cpus: Vec<usize>,
}

impl ActivityMonitor {
    /// A monitor of the system under `root` (`/` but for tests).
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf(), cpus: allowed_cpus() }
    }

    /// The period of the quota of CPU time, where there is one: a measurement lasts many of them.
    pub fn quota_period(&self) -> Option<Seconds> {
        Some(Limits::read(&self.root).quota?.period)
    }

    /// The counters now; `None` where the system does not have them.
    pub fn counters(&self) -> Option<Counters> {
        let stat = std::fs::read_to_string(self.root.join("proc/stat")).ok()?;
        let per_second = rustix::param::clock_ticks_per_second() as f64;
        let [busy, steal, total] = ticks(stat.lines().next()?)?.map(|ticks| ticks / per_second);
        let mut quotas = [None; MOST_LEVELS];
        quotas.iter_mut().zip(Throttling::read(&self.root)).for_each(|(place, level)| *place = Some(level));
        Some(Counters {
            busy_s: busy,
            steal_s: steal,
            own_s: own_cpu_seconds(&self.root, per_second)?,
            total_s: total,
            throttles: self.throttles(),
            ours: self.ours(&stat).map(|(busy, total)| (busy / per_second, total / per_second)),
            quotas,
        })
    }

    /// Ticks of the CPUs that this process may use, where they are fewer than all: two neighbours on its two CPUs are
    /// nothing to a machine of sixty.
    fn ours(&self, stat: &str) -> Option<(f64, f64)> {
        let number = |line: &str| line.strip_prefix("cpu")?.split(' ').next()?.parse::<usize>().ok();
        let all: Vec<(usize, &str)> = stat.lines().filter_map(|line| Some((number(line)?, line))).collect();
        let ours: Vec<_> =
            all.iter().filter(|(cpu, _)| self.cpus.contains(cpu)).filter_map(|(_, line)| ticks(line)).collect();
        let is_part = !ours.is_empty() && ours.len() < all.len();
        is_part.then(|| ours.iter().fold((0.0, 0.0), |sum, [busy, _, total]| (sum.0 + busy, sum.1 + total)))
    }

    fn throttles(&self) -> u64 {
        let count = |cpu: usize| {
            let path = format!("sys/devices/system/cpu/cpu{cpu}/thermal_throttle/core_throttle_count");
            read(self.root.join(path))?.parse::<u64>().ok()
        };
        (0..).map_while(count).sum()
    }
}

/// Busy, stolen and all ticks of a line of `/proc/stat`.
fn ticks(line: &str) -> Option<[f64; 3]> {
    let ticks: Vec<f64> = line.split_whitespace().skip(1).filter_map(|t| t.parse().ok()).collect();
    let [user, nice, system, idle, iowait, irq, softirq, steal, ..] = ticks.as_slice() else { return None };
    let busy = user + nice + system + irq + softirq;
    Some([busy, *steal, busy + idle + iowait + steal])
}

/// User and system time of this process from `/proc/self/stat`, in the same ticks as `/proc/stat`.
fn own_cpu_seconds(root: &Path, per_second: f64) -> Option<f64> {
    let stat = std::fs::read_to_string(root.join("proc/self/stat")).ok()?;
    // The name is in parentheses and may hold anything; fields are counted behind it.
    let after = &stat[stat.rfind(')')? + 1..];
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / per_second)
}

impl Counters {
    /// What happened from `self` to `later`. `None` where too little time passed for the ticks to tell.
    pub fn until(self, later: Counters) -> Option<Activity> {
        let total = later.total_s - self.total_s;
        if total < 0.2 {
            return None;
        }
        let own = later.own_s - self.own_s;
        let foreign = |busy: f64, total: f64| if total > 0.0 { ((busy - own) / total).max(0.0) } else { 0.0 };
        let ours = self.ours.zip(later.ours).map_or(0.0, |(then, now)| foreign(now.0 - then.0, now.1 - then.1));
        Some(Activity {
            foreign: foreign(later.busy_s - self.busy_s, total).max(ours),
            stolen: ((later.steal_s - self.steal_s) / total).max(0.0),
            throttles: later.throttles.saturating_sub(self.throttles),
        })
    }

    /// What quotas of CPU time did from `self` to `later`, by the level that was stopped most; `None` where none was.
    pub fn stopped_until(&self, later: &Counters) -> Option<Throttling> {
        let levels = self.quotas.iter().zip(&later.quotas);
        let levels = levels.filter_map(|(then, now)| Some(then.as_ref()?.until(now.as_ref()?)));
        levels.filter(|level| level.stopped > 0.0).max_by(|a, b| a.share().total_cmp(&b.share()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake(stat: &str, own: &str, throttles: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("proc/stat", stat);
        write("proc/self/stat", own);
        write("sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", throttles);
        root
    }

    #[test]
    fn other_processes_and_stolen_time_are_told_apart() {
        let own = |ticks: u32| format!("1 (a ) b) R 1 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 0 0 0");
        let before = fake("cpu 100 0 0 100 0 0 0 0 0 0\n", &own(50), "1");
        let after = fake("cpu 180 0 0 100 0 0 0 20 0 0\n", &own(110), "3");
        let monitor = |root: &tempfile::TempDir| ActivityMonitor::new(root.path()).counters().unwrap();
        let activity = monitor(&before).until(monitor(&after)).unwrap();
        assert!((activity.foreign - 0.2).abs() < 1e-9);
        assert!((activity.stolen - 0.2).abs() < 1e-9);
        assert_eq!(activity.throttles, 2);
    }

    #[test]
    fn neighbours_on_the_few_cpus_of_a_container_are_seen_on_a_large_machine() {
        let own = |ticks: u32| format!("1 (b) R 1 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 0 0 0");
        let stat = |ours: u32, all: u32| {
            let rest = (1..64).map(|cpu| format!("cpu{cpu} 0 0 0 1000 0 0 0 0 0 0\n")).collect::<String>();
            format!("cpu {all} 0 0 {} 0 0 0 0 0 0\ncpu0 {ours} 0 0 {} 0 0 0 0 0 0\n{rest}", 64_000 - all, 1000 - ours)
        };
        let counters = |stat: &str, own: &str| {
            let root = fake(stat, own, "1");
            ActivityMonitor { root: root.path().to_path_buf(), cpus: vec![0] }.counters().unwrap()
        };
        let before = Counters { ours: Some((0.0, 0.0)), total_s: 0.0, busy_s: 0.0, ..counters(&stat(0, 0), &own(0)) };
        let after = counters(&stat(900, 900), &own(450));
        let activity = before.until(after).unwrap();
        assert!((activity.foreign - 0.45).abs() < 1e-9, "{activity:?}");
    }

    #[test]
    fn the_level_that_was_stopped_most_speaks() {
        let level =
            |cpus, periods, stopped| Some(Throttling { cpus, periods, stopped, stood: Seconds(stopped * 0.09) });
        let counters = |a, b| {
            let mut quotas = [None; MOST_LEVELS];
            (quotas[0], quotas[1]) = (a, b);
            Counters { quotas, ..Counters::default() }
        };
        let before = counters(level(0.05, 10.0, 10.0), level(2.0, 10.0, 0.0));
        let after = counters(level(0.05, 80.0, 79.0), level(2.0, 80.0, 1.0));
        let stopped = before.stopped_until(&after).unwrap();
        assert_eq!((stopped.cpus, stopped.periods, stopped.stopped), (0.05, 70.0, 69.0));
        assert_eq!(before.stopped_until(&before), None);
    }

    #[test]
    fn a_short_span_tells_nothing() {
        let counters = Counters { total_s: 1.0, ..Default::default() };
        assert_eq!(counters.until(Counters { total_s: 1.1, ..Default::default() }), None);
    }

    #[test]
    fn broken_counters_are_absent() {
        let root = fake("cpu x\n", "nonsense", "");
        assert_eq!(ActivityMonitor::new(root.path()).counters(), None);
    }
}
