//! How busy the machine was with other things while a case ran: foreign processes, stolen time, throttling.

use super::cpu::read;
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
}

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
}

impl ActivityMonitor {
    /// A monitor of the system under `root` (`/` but for tests).
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    /// The counters now; `None` where the system does not have them.
    pub fn counters(&self) -> Option<Counters> {
        let stat = std::fs::read_to_string(self.root.join("proc/stat")).ok()?;
        let ticks: Vec<f64> = stat.lines().next()?.split_whitespace().skip(1).filter_map(|t| t.parse().ok()).collect();
        let [user, nice, system, idle, iowait, irq, softirq, steal, ..] = ticks.as_slice() else { return None };
        let per_second = rustix::param::clock_ticks_per_second() as f64;
        let busy = user + nice + system + irq + softirq;
        Some(Counters {
            busy_s: busy / per_second,
            steal_s: steal / per_second,
            own_s: own_cpu_seconds(&self.root, per_second)?,
            total_s: (busy + idle + iowait + steal) / per_second,
            throttles: self.throttles(),
        })
    }

    fn throttles(&self) -> u64 {
        let count = |cpu: usize| {
            let path = format!("sys/devices/system/cpu/cpu{cpu}/thermal_throttle/core_throttle_count");
            read(self.root.join(path))?.parse::<u64>().ok()
        };
        (0..).map_while(count).sum()
    }
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
        let foreign = (later.busy_s - self.busy_s) - (later.own_s - self.own_s);
        Some(Activity {
            foreign: (foreign / total).max(0.0),
            stolen: ((later.steal_s - self.steal_s) / total).max(0.0),
            throttles: later.throttles.saturating_sub(self.throttles),
        })
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
