//! Control groups: which folders say what this process may use. A limit may stand at any level of the path (a slice of
//! systemd, a pod of Kubernetes), in either version of the interface, and the path that the system names may begin above
//! what is mounted here (a container without a namespace of groups).

use super::super::cpu::read;
use std::path::{Path, PathBuf};

/// The folders of this process's groups, its own first and then those above it, as far up as they can be seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Groups {
    /// Of version 2, which has all controllers in one tree.
    pub unified: Vec<PathBuf>,
    /// Of the version 1 controller `cpu`.
    pub cpu: Vec<PathBuf>,
    /// Of the version 1 controller `cpuset`.
    pub cpuset: Vec<PathBuf>,
    /// Of the version 1 controller `memory`.
    pub memory: Vec<PathBuf>,
}

/// Where a tree of groups is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    /// The group that is mounted there.
    root: String,
    /// The place.
    point: String,
    /// Options of a tree of version 1, which name its controllers; `None` for version 2.
    options: Option<String>,
}

impl Mount {
    /// Parses a line of `mountinfo` (proc_pid_mountinfo(5)); `None` for what is no tree of groups.
    fn parse(line: &str) -> Option<Self> {
        let (place, kind) = line.split_once(" - ")?;
        let mut fields = place.split(' ').skip(3);
        let (root, point) = (unescaped(fields.next()?), unescaped(fields.next()?));
        let mut kind = kind.split(' ');
        match kind.next()? {
            "cgroup2" => Some(Self { root, point, options: None }),
            "cgroup" => Some(Self { root, point, options: Some(kind.next_back()?.to_string()) }),
            _ => None,
        }
    }

    fn has(&self, controller: Option<&str>) -> bool {
        match (&self.options, controller) {
            (None, None) => true,
            (Some(options), Some(controller)) => options.split(',').any(|option| option == controller),
            _ => false,
        }
    }
}

/// Spaces and such in paths are written as octal numbers behind a backslash.
fn unescaped(text: &str) -> String {
    let mut plain = text.to_string();
    for (code, letter) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        plain = plain.replace(code, letter);
    }
    plain
}

impl Groups {
    /// Finds them from `/proc/self` under `root` (`/` but for tests).
    pub(crate) fn find(root: &Path) -> Self {
        let mounts = read(root.join("proc/self/mountinfo")).unwrap_or_default();
        let mounts: Vec<Mount> = mounts.lines().filter_map(Mount::parse).collect();
        let paths = read(root.join("proc/self/cgroup")).unwrap_or_default();
        let of = |controller: Option<&str>| {
            let own = paths.lines().find_map(|line| path_of(line, controller)).unwrap_or("/");
            let mounts = mounts.iter().filter(|mount| mount.has(controller));
            // Where a tree is mounted more than once, the mount that shows most of the way up says most.
            mounts.map(|mount| levels(root, mount, own)).max_by_key(Vec::len).unwrap_or_default()
        };
        Self { unified: of(None), cpu: of(Some("cpu")), cpuset: of(Some("cpuset")), memory: of(Some("memory")) }
    }
}

/// The path in a line of `/proc/self/cgroup` (`4:memory:/path`, or `0::/path` for version 2).
fn path_of<'a>(line: &'a str, controller: Option<&str>) -> Option<&'a str> {
    let (number, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    let is_it = match controller {
        None => number == "0" && controllers.is_empty(),
        Some(name) => controllers.split(',').any(|known| known == name),
    };
    is_it.then_some(path)
}

/// The folder of group `path` in a mount, and those above it. A path that does not lead into the mount is that of another
/// view of the groups: what is mounted is then taken for the process's own, as containers have it.
fn levels(root: &Path, mount: &Mount, path: &str) -> Vec<PathBuf> {
    let top = root.join(mount.point.trim_start_matches('/'));
    let below = below(&mount.root, path).map(|below| top.join(below)).filter(|folder| folder.is_dir());
    let own = below.unwrap_or_else(|| top.clone());
    own.ancestors().take_while(|folder| folder.starts_with(&top)).map(Path::to_path_buf).collect()
}

/// What of `path` lies below the group `root`.
fn below<'a>(root: &str, path: &'a str) -> Option<&'a str> {
    let rest = path.strip_prefix(root.trim_end_matches('/'))?;
    let leads_up = path.split('/').any(|part| part == "..");
    (!leads_up && (rest.is_empty() || rest.starts_with('/'))).then(|| rest.trim_start_matches('/'))
}
