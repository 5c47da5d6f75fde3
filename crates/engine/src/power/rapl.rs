//! Energy counters of x86 packages and memory, through Linux's powercap interface (RAPL).

use super::{PowerError, PowerSource, Reading, Sensor};
use crate::units::{Joules, Seconds};
use std::path::{Path, PathBuf};

/// One counter that wraps at `range_uj`.
#[derive(Debug)]
struct Zone {
    name: String,
    path: PathBuf,
    range_uj: u64,
    last_uj: u64,
    total_uj: u64,
}

/// The packages of the machine and their memory. Subzones of a package (cores, graphics) are part of it and left out,
/// and so is the whole-platform zone, which holds everything once more.
#[derive(Debug)]
pub struct Rapl {
    zones: Vec<Zone>,
}

impl Rapl {
    /// Opens the zones under `root` (`/` but for tests). The error says why there are none.
    pub fn open(root: &Path) -> Result<Self, PowerError> {
        let base = root.join("sys/class/powercap");
        let mut folders: Vec<PathBuf> = std::fs::read_dir(&base)
            .map_err(|_| {
                PowerError("no power meter: the system has no /sys/class/powercap (usual on cloud VMs)".into())
            })?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("intel-rapl:")))
            .collect();
        folders.sort();
        let mut zones = Vec::new();
        for folder in folders {
            let Ok(name) = std::fs::read_to_string(folder.join("name")) else { continue };
            let name = name.trim();
            if name.starts_with("package") || name == "dram" {
                zones.push(Zone::open(&folder, name)?);
            }
        }
        if zones.is_empty() {
            Err(PowerError("no power meter: /sys/class/powercap has no RAPL package".into()))
        } else {
            Ok(Self { zones })
        }
    }
}

impl Zone {
    fn open(folder: &Path, name: &str) -> Result<Self, PowerError> {
        let path = folder.join("energy_uj");
        let last_uj = read_counter(&path)?;
        let range_uj = read_counter(&folder.join("max_energy_range_uj")).unwrap_or(u64::MAX);
        // Memory zones are called `dram` in every package: the folder, `intel-rapl:0:1`, tells which.
        let parent = folder.file_name().and_then(|n| n.to_str()?.split(':').nth(1).map(str::to_string));
        let name = match (name, parent) {
            ("dram", Some(package)) => format!("dram-{package}"),
            _ => name.to_string(),
        };
        Ok(Self { name, path, range_uj, last_uj, total_uj: 0 })
    }

    fn update(&mut self) -> Result<Joules, PowerError> {
        let now = read_counter(&self.path)?;
        let step = match now.checked_sub(self.last_uj) {
            Some(step) => step,
            None if self.range_uj == u64::MAX => {
                return Err(PowerError(format!("{}: the counter went backwards", self.path.display())));
            }
            None => (self.range_uj - self.last_uj.min(self.range_uj)) + now,
        };
        self.last_uj = now;
        self.total_uj += step;
        Ok(Joules(self.total_uj as f64 / 1e6))
    }
}

fn read_counter(path: &Path) -> Result<u64, PowerError> {
    let text = std::fs::read_to_string(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::PermissionDenied => {
            PowerError(format!("{} may only be read by root: run as root, or allow it with chmod a+r", path.display()))
        }
        _ => PowerError(format!("{}: {e}", path.display())),
    })?;
    text.trim().parse().map_err(|_| PowerError(format!("{}: `{}` is not a counter", path.display(), text.trim())))
}

impl PowerSource for Rapl {
    fn name(&self) -> &'static str {
        "rapl"
    }

    fn zones(&self) -> Vec<String> {
        self.zones.iter().map(|zone| zone.name.clone()).collect()
    }

    fn sensor(&self) -> Sensor {
        Sensor {
            method: "rapl",
            // The counters move every millisecond (Intel SDM, volume 3, 16.10); a reading every 50 ms is plenty.
            update_period: Seconds(0.1),
            averaging: Seconds(0.0),
            part_time: false,
            error: None,
        }
    }

    fn read(&mut self) -> Result<Vec<Reading>, PowerError> {
        let reading =
            |zone: &mut Zone| zone.update().map(|energy| Reading { energy: Some(energy), ..Reading::default() });
        self.zones.iter_mut().map(reading).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn zone(root: &Path, folder: &str, name: &str, energy: &str) -> PathBuf {
        let path = root.join("sys/class/powercap").join(folder);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("name"), format!("{name}\n")).unwrap();
        fs::write(path.join("energy_uj"), format!("{energy}\n")).unwrap();
        fs::write(path.join("max_energy_range_uj"), "1000000\n").unwrap();
        path
    }

    fn energies(rapl: &mut Rapl) -> Vec<Joules> {
        rapl.read().unwrap().into_iter().map(|reading| reading.energy.unwrap()).collect()
    }

    #[test]
    fn packages_and_memory_are_counted_and_wraps_unwrapped() {
        let root = tempfile::tempdir().unwrap();
        let package = zone(root.path(), "intel-rapl:0", "package-0", "900000");
        zone(root.path(), "intel-rapl:0:0", "core", "1");
        zone(root.path(), "intel-rapl:0:1", "dram", "5");
        zone(root.path(), "intel-rapl:1", "psys", "7");
        let mut rapl = Rapl::open(root.path()).unwrap();
        assert_eq!(rapl.zones(), ["package-0", "dram-0"]);
        assert_eq!(energies(&mut rapl), [Joules(0.0), Joules(0.0)]);
        fs::write(package.join("energy_uj"), "950000").unwrap();
        assert_eq!(energies(&mut rapl)[0], Joules(0.05));
        fs::write(package.join("energy_uj"), "100000").unwrap();
        let wrapped = energies(&mut rapl)[0];
        assert!((wrapped.0 - 0.2).abs() < 1e-9, "{wrapped}");
    }

    #[test]
    fn what_is_missing_is_said() {
        let root = tempfile::tempdir().unwrap();
        assert!(Rapl::open(root.path()).unwrap_err().0.contains("no /sys/class/powercap"));
        zone(root.path(), "intel-rapl:0:0", "core", "1");
        assert!(Rapl::open(root.path()).unwrap_err().0.contains("no RAPL package"));
        let package = zone(root.path(), "intel-rapl:0", "package-0", "x");
        assert!(Rapl::open(root.path()).unwrap_err().0.contains("`x` is not a counter"));
        fs::write(package.join("energy_uj"), "1").unwrap();
        let mut rapl = Rapl::open(root.path()).unwrap();
        fs::remove_file(package.join("energy_uj")).unwrap();
        assert!(rapl.read().unwrap_err().0.contains("energy_uj"));
    }
}
