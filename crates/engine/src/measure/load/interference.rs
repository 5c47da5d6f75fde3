//! Interference: what else the machine of a server did while a step ran, where that machine is this one.
//!
//! Foreign load is what neither this process nor the server's used, by the shares that voids a profile too
//! ([`crate::measure::summary::activity_doubts`]): over the whole step, or in more than a tenth of its seconds.

use crate::device::activity::{Activity, ActivityMonitor, Counters};
use crate::device::served::ServingProcesses;
use crate::measure::delivered::is_stopped;
use crate::measure::summary::activity_doubts;
use crate::record::InvalidReason;
use std::path::{Path, PathBuf};

/// Seconds between two looks.
const LOOK: f64 = 1.0;
/// Share of those that may be disturbed.
const MOST_DISTURBED: f64 = 0.1;

/// A server that runs on this machine: in this process, or behind a port.
#[derive(Debug, Clone)]
pub struct LocalServer {
    monitor: ActivityMonitor,
    root: PathBuf,
    server: Server,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Server {
    /// It is this process.
    Here,
    /// It listens on this port.
    Port(u16),
}

/// What took CPU time from the server in a step.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Interference {
    /// Share of the CPU time that was others'; absent where the server's own is not known.
    pub foreign: Option<f64>,
    /// Share that the hypervisor took.
    pub stolen: Option<f64>,
    /// What of that may show in the times.
    pub reasons: Vec<InvalidReason>,
}

impl LocalServer {
    /// Of an engine in this process.
    pub fn in_process() -> Self {
        Self::at(Path::new("/"), Server::Here)
    }

    /// Of a server that listens on a port of this machine.
    pub fn of_port(port: u16) -> Self {
        Self::at(Path::new("/"), Server::Port(port))
    }

    fn at(root: &Path, server: Server) -> Self {
        Self { monitor: ActivityMonitor::new(root), root: root.to_path_buf(), server }
    }

    /// Begins to watch.
    pub(super) fn watch(&self) -> InterferenceMonitor<'_> {
        let serving = match self.server {
            Server::Here => None,
            Server::Port(port) => ServingProcesses::behind(&self.root, port, std::process::id()),
        };
        let knows_server = self.server == Server::Here || serving.is_some();
        InterferenceMonitor {
            of: self,
            serving,
            knows_server,
            first: None,
            last: None,
            looks: 0,
            disturbed: Vec::new(),
        }
    }
}

/// Measures the interference with one step.
pub(super) struct InterferenceMonitor<'a> {
    of: &'a LocalServer,
    serving: Option<ServingProcesses>,
    knows_server: bool,
    first: Option<Counters>,
    last: Option<(f64, Counters)>,
    looks: usize,
    disturbed: Vec<InvalidReason>,
}

impl InterferenceMonitor<'_> {
    /// The counters, the server's time being ours.
    fn counters(&self) -> Option<Counters> {
        let mut counters = self.of.monitor.counters()?;
        counters.own_s += self.serving.as_ref().map_or(0.0, ServingProcesses::cpu_seconds);
        Some(counters)
    }

    /// What speaks against a stretch.
    fn reasons(&self, activity: Activity) -> Vec<InvalidReason> {
        let foreign = if self.knows_server { activity.foreign } else { 0.0 };
        activity_doubts(Activity { foreign, ..activity })
    }

    /// Looks, once a second, so many seconds after the start.
    pub(super) fn look(&mut self, seconds: f64) {
        if self.last.is_some_and(|(at, _)| seconds - at < LOOK) {
            return;
        }
        let Some(counters) = self.counters() else { return };
        self.first.get_or_insert(counters);
        if let Some(activity) = self.last.and_then(|(_, last)| last.until(counters)) {
            self.looks += 1;
            self.disturbed.extend(self.reasons(activity));
        }
        self.last = Some((seconds, counters));
    }

    /// The interference until now.
    pub(super) fn end(self) -> Interference {
        let Some((first, now)) = self.first.zip(self.counters()) else { return Interference::default() };
        let Some(activity) = first.until(now) else { return Interference::default() };
        let mut reasons = self.reasons(activity);
        // What a quota stops is this process: the engine in it, or the generator, whose requests are then late.
        reasons.extend(first.stopped_until(&now).filter(is_stopped).map(|_| InvalidReason::CpuQuota));
        for reason in &self.disturbed {
            let count = self.disturbed.iter().filter(|other| *other == reason).count();
            // One second of a short step is more than a tenth of it, and may be a tick too many.
            let is_often = count > 1 && count as f64 > MOST_DISTURBED * self.looks as f64;
            if is_often && !reasons.contains(reason) {
                reasons.push(*reason);
            }
        }
        Interference { foreign: self.knows_server.then_some(activity.foreign), stolen: Some(activity.stolen), reasons }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(root: &Path, busy: u32, idle: u32, steal: u32, own: u32, server: u32) {
        let write = |path: &str, text: String| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let stat = |ticks: u32| format!("7 (a) R 1 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 0 0 0");
        write("proc/stat", format!("cpu {busy} 0 0 {idle} 0 0 0 {steal} 0 0\n"));
        write("proc/self/stat", stat(own));
        write("proc/7/stat", stat(server));
        write("proc/net/tcp", "0: 0100007F:1F90 0:0 0A 0:0 0:0 0 0 0 77 1\n".to_string());
        std::fs::create_dir_all(root.join("proc/7/fd")).unwrap();
        let _ = std::os::unix::fs::symlink("socket:[77]", root.join("proc/7/fd/3"));
    }

    /// What is seen of seconds of 100 ticks each, in which others use and a hypervisor takes so many.
    fn interference(server: Server, foreign: &[u32], stolen: u32) -> Interference {
        let root = tempfile::tempdir().unwrap();
        let neighbours = LocalServer::at(root.path(), server);
        set(root.path(), 0, 0, 0, 0, 0);
        let mut watch = neighbours.watch();
        watch.look(0.0);
        let (mut busy, mut steal, mut total) = (0, 0, 0);
        for (second, foreign) in foreign.iter().enumerate() {
            // Ours takes ten, the server thirty.
            (busy, steal, total) = (busy + 40 + foreign, steal + stolen, total + 100);
            let second = second as u32 + 1;
            set(root.path(), busy, total - busy - steal, steal, 10 * second, 30 * second);
            watch.look(second as f64);
        }
        watch.end()
    }

    #[test]
    fn the_server_on_this_machine_is_no_stranger() {
        let quiet = interference(Server::Port(8080), &[0; 10], 0);
        assert_eq!((quiet.foreign, quiet.stolen, quiet.reasons), (Some(0.0), Some(0.0), vec![]));
        let busy = interference(Server::Port(8080), &[20; 10], 8);
        assert!((busy.foreign.unwrap() - 0.2).abs() < 1e-9 && (busy.stolen.unwrap() - 0.08).abs() < 1e-9, "{busy:?}");
        assert_eq!(busy.reasons, [InvalidReason::ForeignLoad, InvalidReason::StolenCpu]);
    }

    #[test]
    fn some_bad_seconds_are_seen_beside_a_quiet_mean() {
        let mut seconds = [0; 40];
        seconds[..5].fill(30);
        let interference = interference(Server::Port(8080), &seconds, 0);
        assert!(interference.foreign.unwrap() < 0.05);
        assert_eq!(interference.reasons, [InvalidReason::ForeignLoad]);
    }

    #[test]
    fn of_a_server_whose_process_is_not_known_nothing_is_foreign() {
        let interference = interference(Server::Port(9999), &[50; 10], 10);
        assert_eq!((interference.foreign, interference.reasons), (None, vec![InvalidReason::StolenCpu]));
    }
}
