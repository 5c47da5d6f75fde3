//! Trees of files as real systems have them.

use super::*;
use crate::units::Seconds;

struct Tree(tempfile::TempDir);

impl Tree {
    fn new(files: &[(&str, &str)]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|(path, text)| tree.write(path, text));
        tree
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn limits(&self) -> Limits {
        Limits::read(self.0.path())
    }

    /// CPUs of the quota, and what is left under the tightest limit of memory.
    fn found(&self) -> (Option<f64>, Option<f64>) {
        let limits = self.limits();
        (limits.quota.as_ref().map(|quota| quota.cpus), limits.tightest_memory().map(|limit| limit.left().0))
    }
}

const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
const MEMINFO: &str = "MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\nSwapTotal: 2000 kB\n";

#[test]
fn a_container_of_version_2_with_a_namespace() {
    let tree = Tree::new(&[
        ("proc/self/mountinfo", V2),
        ("proc/self/cgroup", "0::/\n"),
        ("proc/meminfo", MEMINFO),
        ("sys/fs/cgroup/cpu.max", "150000 100000\n"),
        ("sys/fs/cgroup/cpu.max.burst", "100000\n"),
        ("sys/fs/cgroup/cpuset.cpus.effective", "0-1,4\n"),
        ("sys/fs/cgroup/memory.max", "419430400\n"),
        ("sys/fs/cgroup/memory.high", "max\n"),
        ("sys/fs/cgroup/memory.swap.max", "0\n"),
        ("sys/fs/cgroup/memory.current", "104857600\n"),
        ("sys/fs/cgroup/memory.stat", "anon 1\nfile 9\nactive_file 20971520\ninactive_file 41943040\n"),
    ]);
    let limits = tree.limits();
    let quota = limits.quota.clone().unwrap();
    assert_eq!((quota.cpus, quota.period, quota.threads()), (1.5, Seconds(0.1), 1));
    assert_eq!(quota.from, "/sys/fs/cgroup/cpu.max");
    assert_eq!(limits.cpuset, Some(vec![0, 1, 4]));
    let memory = limits.tightest_memory().unwrap();
    assert_eq!((memory.limit, memory.used), (Bytes((400 << 20) as f64), Bytes((40 << 20) as f64)));
    assert_eq!(limits.swap, Some(Bytes(0.0)));
    let record = limits.record(Bytes(16e9), &[0, 1, 2, 3, 4]).unwrap();
    assert_eq!((record.cpu_quota, record.cpuset.as_deref()), (Some(1.5), Some("0-1,4")));
    assert_eq!((record.memory_bytes, record.swap_bytes), (Some(Bytes((400 << 20) as f64)), Some(Bytes(0.0))));
    assert_eq!(record.memory_from.as_deref(), Some("/sys/fs/cgroup/memory.max"));
}

#[test]
fn a_container_without_a_namespace_is_named_by_the_path_of_the_host() {
    // Only the container's own group is mounted; its path begins above it.
    let tree = Tree::new(&[
        ("proc/self/mountinfo", "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n"),
        ("proc/self/cgroup", "0::/docker/abc\n"),
        ("sys/fs/cgroup/cpu.max", "5000 100000\n"),
        ("sys/fs/cgroup/memory.max", "1000\n"),
    ]);
    assert_eq!(tree.found(), (Some(0.05), Some(1000.0)));
    // The same with a path that does not lead anywhere here.
    tree.write("proc/self/cgroup", "0::/../other\n");
    assert_eq!(tree.found(), (Some(0.05), Some(1000.0)));
    tree.write("proc/self/cgroup", "0::/elsewhere/abc\n");
    assert_eq!(tree.found(), (Some(0.05), Some(1000.0)));
}

#[test]
fn a_group_of_its_own_on_the_host_is_found_by_its_path() {
    let tree = Tree::new(&[
        ("proc/self/mountinfo", V2),
        ("proc/self/cgroup", "0::/system.slice/own.scope\n"),
        ("sys/fs/cgroup/system.slice/own.scope/cpu.max", "max 100000\n"),
        ("sys/fs/cgroup/system.slice/own.scope/memory.max", "max\n"),
        ("sys/fs/cgroup/system.slice/own.scope/memory.current", "100\n"),
        // MemoryMax and CPUQuota of the slice above.
        ("sys/fs/cgroup/system.slice/cpu.max", "50000 50000\n"),
        ("sys/fs/cgroup/system.slice/memory.max", "5000\n"),
        ("sys/fs/cgroup/system.slice/memory.high", "4000\n"),
        ("sys/fs/cgroup/system.slice/memory.current", "1500\n"),
        // Not on the way up.
        ("sys/fs/cgroup/user.slice/cpu.max", "1 100000\n"),
    ]);
    assert_eq!(tree.found(), (Some(1.0), Some(2500.0)));
    assert_eq!(tree.limits().lowest_memory().unwrap().from, "/sys/fs/cgroup/system.slice/memory.high");
}

/// The mounts of version 1, `root` being the group that is mounted.
fn first_version(root: &str) -> String {
    let mount = |controllers: &str| {
        format!("3 2 0:2 {root} /sys/fs/cgroup/{controllers} ro,nosuid - cgroup cgroup rw,{controllers}\n")
    };
    ["cpu,cpuacct", "memory", "cpuset"].map(mount).concat()
}

#[test]
fn pods_within_pods_of_version_1() {
    let pod = "/kubepods/burstable/pod12/34";
    let paths = format!("4:cpu,cpuacct:{pod}\n3:memory:{pod}\n2:cpuset:{pod}\n1:name=systemd:{pod}\n");
    let at = |controller: &str, below: &str, name: &str| format!("sys/fs/cgroup/{controller}{below}/{name}");
    let tree = Tree::new(&[("proc/self/cgroup", &paths), ("proc/self/mountinfo", &first_version("/"))]);
    tree.write(&at("cpu,cpuacct", pod, "cpu.cfs_quota_us"), "-1\n");
    tree.write(&at("cpu,cpuacct", pod, "cpu.cfs_period_us"), "100000\n");
    tree.write(&at("cpu,cpuacct", "/kubepods/burstable/pod12", "cpu.cfs_quota_us"), "250000\n");
    tree.write(&at("cpu,cpuacct", "/kubepods/burstable/pod12", "cpu.cfs_period_us"), "100000\n");
    tree.write(&at("cpuset", pod, "cpuset.cpus"), "2-3\n");
    tree.write(&at("memory", pod, "memory.limit_in_bytes"), "9223372036854771712\n");
    tree.write(&at("memory", pod, "memory.usage_in_bytes"), "700\n");
    tree.write(&at("memory", "/kubepods", "memory.limit_in_bytes"), "3000\n");
    tree.write(&at("memory", "/kubepods", "memory.usage_in_bytes"), "2000\n");
    tree.write(&at("memory", "/kubepods", "memory.stat"), "inactive_file 1\ntotal_inactive_file 300\n");
    assert_eq!(tree.found(), (Some(2.5), Some(1300.0)));
    assert_eq!(tree.limits().cpuset, Some(vec![2, 3]));
    // Within the container its own group alone is mounted, and the limit above shows in its statistics.
    let tree = Tree::new(&[("proc/self/cgroup", &paths), ("proc/self/mountinfo", &first_version(pod))]);
    tree.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    tree.write("sys/fs/cgroup/memory/memory.usage_in_bytes", "700\n");
    tree.write("sys/fs/cgroup/memory/memory.stat", "hierarchical_memory_limit 3000\ntotal_inactive_file 200\n");
    assert_eq!(tree.found(), (None, Some(2500.0)));
}

#[test]
fn both_versions_side_by_side() {
    // Version 2 is there with no controllers, which are all in version 1.
    let mounts = format!("{}9 8 0:9 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n", first_version("/"));
    let tree = Tree::new(&[
        ("proc/self/mountinfo", &mounts),
        ("proc/self/cgroup", "4:memory:/a b\n3:cpu,cpuacct:/a b\n0::/\n"),
        ("sys/fs/cgroup/unified/cgroup.procs", "1\n"),
        ("sys/fs/cgroup/cpu,cpuacct/a b/cpu.cfs_quota_us", "5000\n"),
        ("sys/fs/cgroup/cpu,cpuacct/a b/cpu.cfs_period_us", "100000\n"),
        ("sys/fs/cgroup/cpu,cpuacct/a b/cpu.stat", "nr_periods 70\nnr_throttled 69\nthrottled_time 6300000000\n"),
        ("sys/fs/cgroup/memory/a b/memory.limit_in_bytes", "1000\n"),
    ]);
    assert_eq!(tree.found(), (Some(0.05), Some(1000.0)));
    let stopped = Throttling::read(tree.0.path());
    assert_eq!(stopped, [Throttling { cpus: 0.05, periods: 70.0, stopped: 69.0, stood: Seconds(6.3) }]);
}

#[test]
fn nothing_is_limited_without_groups_or_by_their_largest_values() {
    // WSL2 and plain machines; a container of LXC with limits at their most.
    let nothing =
        Tree::new(&[("proc/self/mountinfo", "1 0 0:1 / / rw - ext4 /dev/sda rw\n"), ("proc/meminfo", MEMINFO)]);
    assert_eq!(nothing.found(), (None, None));
    assert_eq!(nothing.limits().record(Bytes(16e9), &[0, 1]), None);
    assert_eq!(Tree::new(&[]).limits(), Limits::default());
    let most = Tree::new(&[
        ("proc/self/mountinfo", V2),
        ("proc/self/cgroup", "0::/.lxc\n"),
        ("sys/fs/cgroup/.lxc/cpu.max", "max 100000\n"),
        ("sys/fs/cgroup/.lxc/memory.max", "max\n"),
        ("sys/fs/cgroup/.lxc/cpuset.cpus.effective", "0-1\n"),
        ("proc/self/limits", "Max data size             unlimited            unlimited            bytes     \n"),
    ]);
    assert_eq!(most.found(), (None, None));
    assert_eq!(most.limits().record(Bytes(16e9), &[0, 1]), None, "all CPUs that there are");
    for broken in ["", "x y\n", "0 100000\n", "-5 100000\n", "5000 0\n"] {
        most.write("sys/fs/cgroup/.lxc/cpu.max", broken);
        assert_eq!(most.found().0, None, "{broken}");
    }
}

#[test]
fn a_quota_above_the_cpus_is_kept_as_it_is() {
    let tree = Tree::new(&[
        ("proc/self/mountinfo", V2),
        ("proc/self/cgroup", "0::/\n"),
        ("sys/fs/cgroup/cpu.max", "6400000 100000\n"),
    ]);
    assert_eq!(tree.limits().quota.unwrap().threads(), 64);
}

#[test]
fn limits_of_the_process_count_what_it_has_mapped() {
    let tree = Tree::new(&[
        (
            "proc/self/limits",
            "Limit                     Soft Limit           Hard Limit           Units     \n\
             Max data size             600000               unlimited            bytes     \n\
             Max address space         1048576              unlimited            bytes     \n",
        ),
        ("proc/self/status", "Name:\tx\nVmPeak:\t 900 kB\nVmSize:\t     512 kB\nVmData:\t     100 kB\n"),
    ]);
    let limits = tree.limits();
    assert_eq!(limits.lowest_memory().unwrap().limit, Bytes(600_000.0));
    let tightest = limits.tightest_memory().unwrap();
    assert_eq!((tightest.left(), tightest.from.as_str()), (Bytes(497_600.0), "RLIMIT_DATA (ulimit -d)"));
}

#[test]
fn kills_for_want_of_memory_are_counted_where_they_are_counted() {
    let tree = Tree::new(&[("proc/vmstat", "pgfault 3\noom_kill 7\n"), ("proc/self/cgroup", "3:memory:/a\n0::/\n")]);
    tree.write("proc/self/mountinfo", &first_version("/"));
    assert_eq!(out_of_memory(tree.0.path()), Some(7));
    tree.write("sys/fs/cgroup/memory/a/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
    assert_eq!(out_of_memory(tree.0.path()), Some(2));
    tree.write("proc/self/mountinfo", V2);
    tree.write("sys/fs/cgroup/memory.events", "low 0\noom 4\noom_kill 3\n");
    assert_eq!(out_of_memory(tree.0.path()), Some(3));
    assert_eq!(out_of_memory(Tree::new(&[]).0.path()), None);
}
