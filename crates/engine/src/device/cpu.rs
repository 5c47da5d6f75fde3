//! The CPU as the system describes it.

use super::limits::Limits;
use crate::record::environment::CpuRecord;
use crate::units::Bytes;
use std::collections::HashSet;
use std::path::Path;

/// Reads one small file, trimmed; `None` where it is absent or unreadable.
pub(super) fn read(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_string()).filter(|text| !text.is_empty())
}

/// Describes the CPU from `/proc` and `/sys` under `root` (`/` but for tests).
pub fn describe(root: &Path) -> CpuRecord {
    let info = read(root.join("proc/cpuinfo")).unwrap_or_default();
    let field = |name: &str| {
        info.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim().to_string())
        })
    };
    let sys = root.join("sys/devices/system/cpu");
    let signature = match (field("cpu family"), field("model"), field("stepping")) {
        (Some(family), Some(model), Some(stepping)) => format!("{family}/{model}/{stepping}"),
        _ => format!(
            "{}/{}/{}",
            field("CPU implementer").unwrap_or_default(),
            field("CPU part").unwrap_or_default(),
            field("CPU variant").unwrap_or_default()
        ),
    };
    let allowed = allowed_cpus();
    CpuRecord {
        model: field("model name").or_else(|| field("Model")).unwrap_or_else(|| "unknown".to_string()),
        vendor: field("vendor_id").or_else(|| field("CPU implementer")).unwrap_or_else(|| "unknown".to_string()),
        signature,
        arch: std::env::consts::ARCH.to_string(),
        sockets: sockets(&sys, &allowed),
        cores: physical_cores(&sys, &allowed),
        threads: allowed.len(),
        features: features(),
        caches_bytes: caches(&sys),
        hypervisor: hypervisor(root, &info),
        governor: read(sys.join("cpu0/cpufreq/scaling_governor")),
        max_clock_mhz: read(sys.join("cpu0/cpufreq/cpuinfo_max_freq"))
            .and_then(|khz| khz.parse::<f64>().ok())
            .map(|khz| khz / 1000.0),
        engine_threads: 0,
        pinned_to: None,
    }
}

/// The CPUs that this process may run on: its affinity, within the set of its control group.
pub fn allowed_cpus() -> Vec<usize> {
    let affinity = affinity();
    let within = Limits::read(Path::new("/")).cpuset.map(|set| {
        let both = affinity.iter().copied().filter(|cpu| set.contains(cpu));
        both.collect::<Vec<_>>()
    });
    // A set that leaves nothing is that of another view of the groups.
    within.filter(|cpus| !cpus.is_empty()).unwrap_or(affinity)
}

fn affinity() -> Vec<usize> {
    #[cfg(target_os = "linux")]
    if let Ok(set) = rustix::thread::sched_getaffinity(None) {
        let cpus: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect();
        if !cpus.is_empty() {
            return cpus;
        }
    }
    (0..std::thread::available_parallelism().map_or(1, usize::from)).collect()
}

/// The CPUs that the system runs on, whether this process may use them or not.
pub(super) fn online(root: &Path) -> Vec<usize> {
    let list = read(root.join("sys/devices/system/cpu/online"));
    list.and_then(|list| parse_cpu_list(&list).ok()).unwrap_or_default()
}

/// Threads that an engine should use: one for each physical core, no more than a CPU quota lets run all the time.
pub fn default_threads() -> usize {
    let cores = physical_cores(Path::new("/sys/devices/system/cpu"), &allowed_cpus());
    match Limits::read(Path::new("/")).quota {
        Some(quota) => cores.min(quota.threads()),
        None => cores,
    }
}

/// A list of CPUs in the form that [`parse_cpu_list`] reads.
pub fn in_words(cpus: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for cpu in cpus {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *cpu => *last = *cpu,
            _ => ranges.push((*cpu, *cpu)),
        }
    }
    let words = ranges
        .into_iter()
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") });
    words.collect::<Vec<_>>().join(",")
}

/// Parses a CPU list such as `0-3,8`.
pub fn parse_cpu_list(text: &str) -> Result<Vec<usize>, String> {
    let bad = || format!("`{text}` is not a CPU list such as 0-3,8");
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) =
            (first.trim().parse().map_err(|_| bad())?, last.trim().parse().map_err(|_| bad())?);
        if first > last || last > 1 << 16 {
            return Err(bad());
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Ok(cpus)
}

fn topology(sys: &Path, cpu: usize, name: &str) -> Option<String> {
    read(sys.join(format!("cpu{cpu}/topology/{name}")))
}

fn sockets(sys: &Path, allowed: &[usize]) -> usize {
    let ids: HashSet<String> = allowed.iter().filter_map(|cpu| topology(sys, *cpu, "physical_package_id")).collect();
    ids.len().max(1)
}

fn physical_cores(sys: &Path, allowed: &[usize]) -> usize {
    let cores: HashSet<String> = allowed.iter().filter_map(|cpu| topology(sys, *cpu, "thread_siblings_list")).collect();
    if cores.is_empty() { allowed.len().max(1) } else { cores.len() }
}

/// Sizes of the data and unified caches that the first CPU sees.
fn caches(sys: &Path) -> Vec<Bytes> {
    (0..8)
        .filter_map(|index| {
            let at = sys.join(format!("cpu0/cache/index{index}"));
            let kind = read(at.join("type"))?;
            let size = read(at.join("size"))?;
            (kind != "Instruction").then(|| parse_size(&size)).flatten()
        })
        .collect()
}

fn parse_size(text: &str) -> Option<Bytes> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor = match unit {
        "" => 1.0,
        "K" => 1024.0,
        "M" => 1024.0 * 1024.0,
        "G" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    Some(Bytes(digits.parse::<f64>().ok()? * factor))
}

fn hypervisor(root: &Path, info: &str) -> Option<String> {
    let flagged = info.lines().any(|line| line.starts_with("flags") && line.contains(" hypervisor"));
    let named = read(root.join("sys/hypervisor/type")).or_else(|| {
        let vendor = read(root.join("sys/class/dmi/id/sys_vendor"))?;
        Some(match vendor.as_str() {
            "QEMU" => "kvm".to_string(),
            other => other.to_string(),
        })
    });
    flagged.then(|| named.unwrap_or_else(|| "unnamed".to_string()))
}

/// Whether the system names `flag` among what the CPU can do, under `root` (`/` but for tests).
pub(super) fn has_flag(root: &Path, flag: &str) -> bool {
    let info = read(root.join("proc/cpuinfo")).unwrap_or_default();
    let flags = info.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == "flags");
    flags.is_some_and(|(_, flags)| flags.split_whitespace().any(|word| word == flag))
}

/// Instruction sets that the kernels look for, of those that this CPU has.
fn features() -> Vec<String> {
    macro_rules! found {
        ($detected:path: $($name:tt),*) => {{
            use $detected as detected;
            [$(($name, detected!($name))),*].into_iter().filter(|(_, has)| *has).map(|(name, _)| name.to_string()).collect()
        }};
    }
    #[cfg(target_arch = "x86_64")]
    return found!(
        std::arch::is_x86_feature_detected: "avx2", "fma", "f16c", "avxvnni", "avx512f", "avx512bw", "avx512vl",
        "avx512vnni", "avx512bf16", "avx512fp16"
    );
    #[cfg(target_arch = "aarch64")]
    return found!(
        std::arch::is_aarch64_feature_detected: "neon", "fp16", "bf16", "dotprod", "i8mm", "sve", "sve2"
    );
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_described() {
        let cpu = describe(Path::new("/"));
        assert!(cpu.threads >= 1 && cpu.cores >= 1 && cpu.cores <= cpu.threads.max(1));
        assert!(default_threads() >= 1);
        assert_eq!(cpu.arch, std::env::consts::ARCH);
    }

    #[test]
    fn flags_are_whole_words() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("proc")).unwrap();
        std::fs::write(root.path().join("proc/cpuinfo"), "processor\t: 0\nflags\t\t: fpu amx_int8 avx2\n").unwrap();
        assert!(has_flag(root.path(), "amx_int8") && !has_flag(root.path(), "amx"));
        assert!(!has_flag(Path::new("/nonexistent"), "fpu"));
    }

    #[test]
    fn an_empty_system_gives_unknowns_rather_than_a_panic() {
        let empty = tempfile::tempdir().unwrap();
        let cpu = describe(empty.path());
        assert_eq!(cpu.model, "unknown");
        assert!(cpu.caches_bytes.is_empty());
    }

    #[test]
    fn cpu_lists_parse() {
        assert_eq!((in_words(&[0, 1, 2, 8]), in_words(&[])), ("0-2,8".to_string(), String::new()));
        assert_eq!(parse_cpu_list("0-2,8,1"), Ok(vec![0, 1, 2, 8]));
        for bad in ["", "a", "3-1", "0-99999999", "1,,2"] {
            assert!(parse_cpu_list(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_size("32768K"), Some(Bytes(33_554_432.0)));
    }
}
