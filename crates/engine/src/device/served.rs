//! The processes behind a port of this machine: those that hold its listening socket, and their children.
//!
//! What they use of the CPU is the load that is measured; without them it would look like somebody else's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Programs that pass connections on: who answers is behind them, and not known.
const PASSING_ON: [&str; 14] = [
    "docker-proxy",
    "rootlessport",
    "rootlesskit",
    "slirp4netns",
    "pasta",
    "conmon",
    "ssh",
    "sshd",
    "kubectl",
    "socat",
    "envoy",
    "haproxy",
    "nginx",
    "caddy",
];
/// The state of a listening socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// Processes that serve a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServingProcesses {
    root: PathBuf,
    processes: BTreeSet<u32>,
}

/// A line of `/proc/PID/stat`.
struct Stat {
    name: String,
    parent: u32,
    /// Ticks of the process and of its children that have ended.
    ticks: f64,
}

fn stat(root: &Path, process: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(root.join(format!("proc/{process}/stat"))).ok()?;
    // The name is in parentheses and may hold anything; fields are counted behind it.
    let (open, close) = (text.find('(')?, text.rfind(')')?);
    let name = text.get(open + 1..close)?.to_string();
    let fields: Vec<&str> = text.get(close + 1..)?.split_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().filter_map(|field| field.parse::<f64>().ok()).sum();
    Some(Stat { name, parent: fields.get(1)?.parse().ok()?, ticks })
}

/// The sockets that listen on a port, by their inodes.
fn sockets(root: &Path, port: u16) -> BTreeSet<String> {
    let files =
        ["proc/net/tcp", "proc/net/tcp6"].map(|file| std::fs::read_to_string(root.join(file)).unwrap_or_default());
    let of_line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, at) = fields.get(1)?.rsplit_once(':')?;
        let is_it = u16::from_str_radix(at, 16) == Ok(port) && fields.get(3) == Some(&LISTENING);
        is_it.then(|| fields.get(9).map(|inode| format!("socket:[{inode}]"))).flatten()
    };
    files.iter().flat_map(|file| file.lines().filter_map(of_line)).collect()
}

fn all_processes(root: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir(root.join("proc")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

impl ServingProcesses {
    /// Those behind `port` of the system under `root` (`/` but for tests), this process (`own`) and what it started left out.
    /// `None` where they are not known: nobody listens, another user's process does, or one that passes connections on.
    pub fn behind(root: &Path, port: u16, own: u32) -> Option<Self> {
        let sockets = sockets(root, port);
        let holds = |process: &u32| {
            let files = std::fs::read_dir(root.join(format!("proc/{process}/fd"))).into_iter().flatten().flatten();
            files
                .filter_map(|file| std::fs::read_link(file.path()).ok())
                .any(|to| to.to_str().is_some_and(|to| sockets.contains(to)))
        };
        if sockets.is_empty() {
            return None;
        }
        let known: BTreeMap<u32, Stat> =
            all_processes(root).into_iter().filter_map(|process| Some((process, stat(root, process)?))).collect();
        let mut processes: BTreeSet<u32> = known.keys().copied().filter(holds).collect();
        let passes_on = |process: &u32| known.get(process).is_some_and(|stat| PASSING_ON.contains(&stat.name.as_str()));
        if processes.is_empty() || processes.iter().any(passes_on) {
            return None;
        }
        loop {
            let children = known.iter().filter(|(process, stat)| {
                **process != own && processes.contains(&stat.parent) && !processes.contains(process)
            });
            let children: Vec<u32> = children.map(|(process, _)| *process).collect();
            if children.is_empty() {
                break;
            }
            processes.extend(children);
        }
        processes.remove(&own);
        Some(Self { root: root.to_path_buf(), processes })
    }

    /// CPU seconds that they and their children have used so far.
    pub fn cpu_seconds(&self) -> f64 {
        let per_second = rustix::param::clock_ticks_per_second() as f64;
        let ticks = self.processes.iter().filter_map(|process| stat(&self.root, *process)).map(|stat| stat.ticks);
        ticks.sum::<f64>() / per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(root: &Path, id: u32, name: &str, parent: u32, ticks: u32) {
        let folder = root.join(format!("proc/{id}/fd"));
        std::fs::create_dir_all(&folder).unwrap();
        let stat = format!("{id} ({name}) S {parent} 1 1 0 -1 0 0 0 0 0 {ticks} 1 2 3 20 0 1 0");
        std::fs::write(root.join(format!("proc/{id}/stat")), stat).unwrap();
    }

    fn system(listener: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let at = root.path();
        process(at, 10, listener, 1, 100);
        process(at, 11, "VLLM::Engine) x", 10, 200);
        process(at, 12, "worker", 11, 400);
        process(at, 20, "editor", 1, 800);
        process(at, 30, "sizewell", 10, 1600);
        std::os::unix::fs::symlink("socket:[77]", at.join("proc/10/fd/5")).unwrap();
        std::os::unix::fs::symlink("socket:[78]", at.join("proc/20/fd/5")).unwrap();
        std::fs::create_dir_all(at.join("proc/net")).unwrap();
        let lines = "  sl  local_address rem_address   st\n\
                     0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 77 1\n\
                     1: 0100007F:1F91 0100007F:1F90 01 00000000:00000000 00:00000000 00000000 0 0 78 1\n";
        std::fs::write(at.join("proc/net/tcp"), lines).unwrap();
        root
    }

    #[test]
    fn a_server_is_its_listener_with_all_that_it_started_but_for_us() {
        let root = system("python3");
        let found = ServingProcesses::behind(root.path(), 8080, 30).unwrap();
        assert_eq!(found.processes, BTreeSet::from([10, 11, 12]));
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        assert!((found.cpu_seconds() * ticks - (700.0 + 3.0 * 6.0)).abs() < 1e-6);
        assert_eq!(ServingProcesses::behind(root.path(), 8081, 30), None, "a connection is no listener");
    }

    #[test]
    fn who_passes_connections_on_is_not_who_answers() {
        assert_eq!(ServingProcesses::behind(system("docker-proxy").path(), 8080, 30), None);
    }

    #[test]
    fn a_listener_of_this_process_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = ServingProcesses::behind(Path::new("/"), port, 0).unwrap();
        assert!(found.processes.contains(&std::process::id()) && found.cpu_seconds() >= 0.0);
    }
}
