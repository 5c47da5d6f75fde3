//! The whole program on a fake card with a fake meter: several devices and power limits, each a run of its own, and a
//! limit that comes back whatever happens.

use crate::support::{fake_cuda, fake_nvml, tiny};
use sizewell::device::cuda;
use sizewell::record::Run;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A machine with fake cards, in a folder.
struct Machine {
    folder: tempfile::TempDir,
    cuda: &'static Path,
}

impl Machine {
    /// `None` where the fake driver cannot be built.
    fn new() -> Option<Self> {
        Some(Self { folder: tempfile::tempdir().unwrap(), cuda: fake_cuda::library()? })
    }

    fn limit_file(&self) -> PathBuf {
        self.folder.path().join("limit")
    }

    /// The limit of the card in milliwatts.
    fn limit(&self) -> u64 {
        std::fs::read_to_string(self.limit_file()).map_or(350_000, |text| text.parse().unwrap())
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    /// `profile` of the tiny model at one case.
    fn profile(&self, arguments: &[&str]) -> Command {
        let mut command = tiny::profile(self.folder.path(), &self.output());
        command.args(["--quant", "f16", "--batch", "1"]).args(arguments);
        command.env(cuda::LIBRARY_VARIABLE, self.cuda).env("SIZEWELL_NVML", fake_nvml::library());
        command.env("FAKE_NVML_SCRIPT", "0").env("FAKE_NVML_LIMIT", self.limit_file());
        command
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn each_limit_is_a_run_and_the_old_limit_comes_back() {
    let Some(machine) = Machine::new() else { return };
    std::fs::write(machine.limit_file(), "340000").unwrap();
    // Long enough for an energy: 5 s, after 10 s of idle power.
    let arguments = ["--device", "cuda:0", "--power-limit", "100%,60%", "--max-time", "6"];
    let run = machine.profile(&arguments).output().unwrap();
    assert!(matches!(run.status.code(), Some(0 | 5)), "{}", stderr(&run));
    assert_eq!(machine.limit(), 340_000);
    for (name, limit, power) in [("cuda-0-100pct", 350.0, 250.0), ("cuda-0-60pct", 210.0, 210.0)] {
        let run = Run::read(&machine.output().join(name)).unwrap();
        assert_eq!(run.record.power.limit_w.unwrap().0, limit);
        let idle = run.record.power.idle.as_ref().unwrap();
        // The fake draws the same with a model on it; what rankings take of a card is that figure alone.
        assert!((run.record.power.waiting_w.unwrap().0 / power - 1.0).abs() < 0.02, "{:?}", run.record.power);
        assert_eq!(run.record.power.waiting(), run.record.power.waiting_w);
        assert!(!idle.card_open && idle.performance_state == Some(0) && idle.reason.is_none(), "{idle:?}");
        assert!((run.record.power.idle_w.unwrap().0 / power - 1.0).abs() < 0.02, "{:?}", run.record.power);
        assert_eq!(run.record.environment.gpus[0].power_limit_w.unwrap().0, limit);
        let metrics = run.cases[0].metrics;
        let measured = metrics.power.unwrap();
        assert!((measured.value.0 / power - 1.0).abs() < 0.03, "{measured:?}");
        assert_eq!(metrics.peak_used.unwrap().0, 2.0 * (1u64 << 30) as f64);
        // Both are of the same card, by its two ways of counting.
        assert!(metrics.peak_device.unwrap().0 > 0.0);
        let trace = std::fs::read_to_string(run.path.join("power.csv")).unwrap();
        assert!(trace.lines().count() > 50, "{trace}");
    }
    let screen = String::from_utf8_lossy(&run.stdout);
    assert!(screen.contains("Side by side") && screen.contains("210 W"), "{screen}");
}

/// A run at 60 % that would take long, with the limit in force.
fn limited(machine: &Machine) -> Child {
    let arguments = ["--device", "cuda:0", "--power-limit", "60%", "--max-time", "60"];
    let child = machine.profile(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    within(60, &mut || machine.limit() == 210_000);
    child
}

fn within(seconds: u64, done: &mut dyn FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !done() {
        assert!(Instant::now() < end, "not within {seconds} s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn send(signal: &str, process: u32) {
    assert!(Command::new("kill").args([signal, &process.to_string()]).status().unwrap().success());
}

#[test]
fn a_program_that_is_killed_leaves_no_limit_behind() {
    let Some(machine) = Machine::new() else { return };
    let mut child = limited(&machine);
    child.kill().unwrap();
    child.wait().unwrap();
    within(20, &mut || machine.limit() == 350_000);
}

#[test]
#[cfg(target_os = "linux")]
fn a_guard_that_ignores_signals_and_is_killed_leaves_no_limit_behind_either() {
    let Some(machine) = Machine::new() else { return };
    let mut child = limited(&machine);
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let guard: u32 = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
    send("-TERM", guard);
    send("-INT", guard);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(machine.limit(), 210_000);
    send("-KILL", guard);
    // A clean stop: the program puts the limit back itself.
    send("-TERM", child.id());
    child.wait().unwrap();
    assert_eq!(machine.limit(), 350_000);
}

#[test]
fn a_limit_that_cannot_be_is_refused_before_anything_is_measured() {
    let Some(machine) = Machine::new() else { return };
    let refused = |arguments: &[&str], settings: &[(&str, &str)], code: i32, why: &str| {
        let run = machine.profile(arguments).envs(settings.iter().copied()).output().unwrap();
        assert_eq!(run.status.code(), Some(code), "{}", stderr(&run));
        assert!(stderr(&run).contains(why), "{}", stderr(&run));
        assert!(!stderr(&run).contains("warning"), "{}", stderr(&run));
        assert!(!machine.output().exists());
        assert_eq!(machine.limit(), 350_000);
    };
    let card = ["--device", "cuda:0", "--power-limit"];
    let with = |limit| [&card[..], &[limit]].concat();
    refused(&with("80%"), &[("FAKE_NVML_UNPRIVILEGED", "1")], 1, "run with sudo");
    refused(&with("10%"), &[], 2, "this card takes 100 W to 350 W");
    refused(&with("500W"), &[], 2, "this card takes 100 W to 350 W");
    refused(&with("80"), &[], 2, "write 80%");
    refused(&with("80%"), &[("FAKE_NVML_SCRIPT", "5")], 1, "MIG");
    refused(&["--device", "cpu", "--power-limit", "80%"], &[], 2, "--power-limit is for cards");
    refused(&["--power-limit", "80%", "--device", "all"], &[], 2, "--power-limit is for cards");
    let shared = ["--device", "cuda:1", "--power-limit", "80%"];
    refused(&shared, &[("FAKE_NVML_SCRIPT", "10"), ("FAKE_CUDA_CARDS", "2")], 1, "cuda:1 is shared: 1 other process");
}

#[test]
fn every_device_is_measured_alone() {
    let Some(machine) = Machine::new() else { return };
    let run = machine.profile(&["--device", "all"]).env("FAKE_CUDA_CARDS", "2").output().unwrap();
    assert!(matches!(run.status.code(), Some(0 | 5)), "{}", stderr(&run));
    for (name, device) in [("cpu", "cpu"), ("cuda-0", "cuda:0"), ("cuda-1", "cuda:1")] {
        let run = Run::read(&machine.output().join(name)).unwrap();
        assert_eq!(run.record.engine.device, device);
        assert_eq!((run.cases.len(), run.cases[0].key.device.as_str()), (1, device));
    }
    assert!(String::from_utf8_lossy(&run.stdout).contains("Side by side"));
    // One that is not there is said, and the others are measured.
    std::fs::remove_dir_all(machine.output()).unwrap();
    let run = machine.profile(&["--device", "cuda:7,cuda:0"]).output().unwrap();
    assert_eq!(run.status.code(), Some(1), "{}", stderr(&run));
    assert!(stderr(&run).contains("there is no cuda:7"), "{}", stderr(&run));
    assert_eq!(Run::read(&machine.output().join("cuda-0")).unwrap().cases.len(), 1);
    // Without a driver, all is the CPU, and that is said.
    std::fs::remove_dir_all(machine.output()).unwrap();
    let run = machine.profile(&["--device", "all"]).env(cuda::LIBRARY_VARIABLE, "/nonexistent").output().unwrap();
    assert!(stderr(&run).contains("the CPU only: "), "{}", stderr(&run));
    assert_eq!(Run::read(&machine.output()).unwrap().record.engine.device, "cpu");
}

#[test]
fn a_card_whose_memory_fails_is_warned_of() {
    let Some(machine) = Machine::new() else { return };
    let run = machine.profile(&["--device", "cuda:0"]).env("FAKE_NVML_SCRIPT", "14").output().unwrap();
    let said = stderr(&run);
    assert!(said.contains("cuda:0: a part of its memory failed and waits to be replaced: reset the card"), "{said}");
    let record = Run::read(&machine.output()).unwrap().record;
    assert_eq!(record.environment.gpus[0].memory_errors.unwrap().uncorrected, Some(3));
}
