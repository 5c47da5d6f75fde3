//! `scripts/gpu-verify` from end to end: what it does with steps that fail, hang or are not there, with a program that
//! plays its part, and all three calls on the fake driver.

use super::support::{fake_cuda, fake_nvml};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Plays the program: lists a card, measures one ceiling, and profiles for as long as `PLAY` says.
const PLAYER: &str = r#"#!/bin/sh
case "$1" in
devices) second='{"id":"cuda:1","name":"NVIDIA H200","usable":'${SECOND:-false}'}'
    echo '{"devices":[{"id":"cuda:0","name":"NVIDIA H200","usable":true},'"$second"'],
    "data_sheets":{"cuda:0":{"id":"nvidia/h200-sxm-141","memory_bandwidth_gb_per_s":4800,"bf16_tflops":989}}}' ;;
ceilings) echo '[{"kind":"read_bandwidth","device":"cuda:0","best":4.4e12,"median":4.3e12,"how":"arrays"}]' ;;
profile) echo "$*"; echo "warming up" >&2; mkdir -p first; echo half >first/run.json
    case "$PLAY" in fail) echo "error: the card is on fire" >&2; exit 1 ;; esac
    sleep "${PLAY:-0}" & echo $! >"$CHILD"; wait ;;
*) exit 1 ;;
esac
"#;

/// A model that the fake takes.
const MODEL: &str = include_str!("../../scripts/gpu/tiny.toml");

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name)
}

/// Whether there is a Python to run the script with; says so where there is none.
fn no_python() -> bool {
    let none = Command::new("python3").arg("--version").output().is_err();
    if none {
        eprintln!("skipped: there is no python3");
    }
    none
}

/// A folder with a space in its name, and in it the player, what came of calls and where they worked.
struct Stage {
    folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("gpu verify ").tempdir().unwrap();
        let player = folder.path().join("sizewell");
        std::fs::write(&player, PLAYER).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&player, executable).unwrap();
        Self { folder }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A call with these variables set.
    fn call(&self, number: &str, variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new("python3");
        command.arg(script("gpu-verify")).arg(number).arg(self.at("out"));
        command.env("SIZEWELL", self.at("sizewell")).env("CHILD", self.at("child")).env("TMPDIR", self.folder.path());
        for name in ["STEPS", "LIMITS", "BUDGET", "WORK", "FROM", "DECODER_TESTS"] {
            command.env_remove(name);
        }
        command.envs(variables.iter().copied());
        command
    }

    /// What is in the archive of a call, by `tar`.
    fn archived(&self, number: &str) -> Vec<String> {
        let archive = self.at(&format!("out/call{number}.tar.gz"));
        let listed = Command::new("tar").arg("-tzf").arg(archive).output().unwrap();
        assert!(listed.status.success(), "{}", stderr(&listed));
        String::from_utf8(listed.stdout).unwrap().lines().map(str::to_string).collect()
    }

    fn table(&self, number: &str) -> String {
        std::fs::read_to_string(self.at(&format!("out/call{number}.txt"))).unwrap()
    }

    /// The process that the player has started, once it has.
    fn child(&self) -> u32 {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(child) = std::fs::read_to_string(self.at("child")).ok().and_then(|t| t.trim().parse().ok()) {
                return child;
            }
            assert!(Instant::now() < end, "the player has started nothing");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether a process runs; one that has ended and was not waited for does not.
fn runs(process: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    !state.is_empty() && !state.contains(") Z")
}

/// The line of the table that begins with `word`.
fn line<'a>(text: &'a str, word: &str) -> &'a str {
    text.lines().find(|line| line.trim_start().starts_with(word)).unwrap_or_else(|| panic!("no {word}: {text}"))
}

#[test]
fn a_step_that_fails_is_said_and_costs_no_other() {
    if no_python() {
        return;
    }
    let stage = Stage::new();
    let variables = [("STEPS", "devices ceilings logits peers first memcheck"), ("PLAY", "fail")];
    let run = stage.call("1", &variables).output().unwrap();
    assert_eq!(run.status.code(), Some(1), "{}", stderr(&run));
    let text = stdout(&run);
    assert!(text.starts_with("Call 1 on cuda:0, NVIDIA H200, 20"), "{text}");
    assert!(line(&text, "first").contains("FAILED") && line(&text, "first").contains("the card is on fire"), "{text}");
    assert!(line(&text, "ceilings").contains(" ok "), "{text}");
    assert!(line(&text, "logits").contains("absent") && line(&text, "logits").contains("DECODER_TESTS names it"));
    // 4.4 of 4.8 TB/s.
    let roof: Vec<&str> = line(&text, "read_bandwidth").split_whitespace().collect();
    assert_eq!(roof, ["read_bandwidth", "4.4", "TB/s", "4.3", "TB/s", "91.7%", "-", "arrays"]);
    assert!(text.contains("read bandwidth from 90% of the data sheet: yes: 91.7%"), "{text}");
    assert!(text.contains("bf16 tensor cores from 85% of cuBLAS: cannot tell: the tensor cores' rate"), "{text}");
    let kept = stage.archived("1");
    for name in ["call.json", "table.txt", "devices.out", "ceilings.out", "first.log", "first/run.json"] {
        assert!(kept.contains(&format!("call1/{name}")), "{name}: {kept:?}");
    }
    assert_eq!(
        stage.table("1"),
        text[..text.len() - text.lines().last().unwrap().len() - 1].trim_end().to_string() + "\n"
    );
    // The same table again from the archive alone.
    let again =
        Command::new("python3").arg(script("gpu-verify")).arg("--table").arg(stage.at("out/call1.tar.gz")).output();
    assert_eq!(stdout(&again.unwrap()), stage.table("1"));
    // Nothing stays in the folder for temporary files.
    let left = std::fs::read_dir(stage.folder.path()).unwrap().flatten().map(|e| e.file_name());
    assert!(!left.into_iter().any(|name| name.to_string_lossy().starts_with("gpu-verify-")));
}

#[test]
fn several_cards_are_measured_side_by_side() {
    if no_python() {
        return;
    }
    let stage = Stage::new();
    let one = stdout(&stage.call("2", &[("STEPS", "devices cards")]).output().unwrap());
    assert!(line(&one, "cards").contains("absent") && one.contains("1 usable cards"), "{one}");
    let work = stage.at("work");
    let variables = [("STEPS", "devices cards"), ("SECOND", "true"), ("WORK", work.to_str().unwrap())];
    let two = stdout(&stage.call("2", &variables).output().unwrap());
    assert!(line(&two, "cards").contains(" ok "), "{two}");
    // Every card, and no CPU; the folder that was named is kept.
    let asked = std::fs::read_to_string(work.join("cards.out")).unwrap();
    assert!(asked.starts_with("profile --device cuda --model llama-3.2-1b --quant bf16 --batch 1 "), "{asked}");
}

#[test]
fn a_step_ends_at_its_limit_and_a_call_at_its_time() {
    if no_python() {
        return;
    }
    let stage = Stage::new();
    // A limit of a step: that failed, and what it started is gone.
    let variables = [("STEPS", "devices first coldstart"), ("LIMITS", "first=1"), ("PLAY", "600")];
    let run = stage.call("1", &variables).output().unwrap();
    assert_eq!(run.status.code(), Some(1), "{}", stderr(&run));
    assert!(line(&stdout(&run), "first").contains("FAILED") && stdout(&run).contains("stopped at its limit of 1 s"));
    assert!(line(&stdout(&run), "coldstart").contains("FAILED"), "the next one runs");
    assert!(!runs(stage.child()) && stage.archived("1").contains(&"call1/first.log".to_string()));
    // The time of a call: the step is cut, the next is left out, and neither is a failure of what was measured.
    let variables = [("STEPS", "devices first coldstart"), ("BUDGET", "16"), ("LIMITS", "devices=5"), ("PLAY", "600")];
    let run = stage.call("1", &variables).output().unwrap();
    assert_eq!(run.status.code(), Some(4), "{}", stderr(&run));
    let text = stdout(&run);
    assert!(line(&text, "first").contains("cut short") && line(&text, "coldstart").contains("left out"), "{text}");
    assert!(text.contains("copy of the weights in coldstart  left out: 0 s of the call are left"), "{text}");
    assert!(!runs(stage.child()));
}

#[test]
fn a_signal_in_the_middle_of_a_step_leaves_a_whole_archive_and_no_process() {
    if no_python() {
        return;
    }
    for (signal, home) in [("-TERM", "/nonexistent"), ("-HUP", "")] {
        let stage = Stage::new();
        let mut command =
            stage.call("1", &[("STEPS", "devices ceilings first coldstart"), ("PLAY", "600"), ("HOME", home)]);
        let running = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let child = stage.child();
        assert!(Command::new("kill").args([signal, &running.id().to_string()]).status().unwrap().success());
        let run = running.wait_with_output().unwrap();
        assert_eq!(run.status.code(), Some(130));
        let text = stage.table("1");
        assert!(text.contains(&format!("ENDED EARLY: by SIG{}", &signal[1..])), "{text}");
        assert!(
            line(&text, "first").contains("cut short") && line(&text, "read_bandwidth").contains("4.4 TB/s"),
            "{text}"
        );
        assert!(stage.archived("1").contains(&"call1/first/run.json".to_string()));
        assert!(!runs(child), "what a step started outlives it");
    }
}

#[test]
fn closed_streams_full_disks_and_wrong_words() {
    if no_python() {
        return;
    }
    let stage = Stage::new();
    // Nobody listens: everything is kept all the same.
    let call = format!("exec python3 '{}' 1 '{}' >&- 2>&-", script("gpu-verify").display(), stage.at("out").display());
    let mut shell = stage.call("1", &[("STEPS", "devices ceilings")]);
    let (program, variables) = ("sh", shell.get_envs().map(|(k, v)| (k.to_owned(), v.map(|v| v.to_owned()))));
    let mut command = Command::new(program);
    command.args(["-c", &call]);
    for (name, value) in variables {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    assert_eq!(command.status().unwrap().code(), Some(0));
    assert!(stage.archived("1").contains(&"call1/ceilings.out".to_string()));
    shell.arg("cuda:0");
    // A place that takes no files: said, and the status shows it.
    let full = Command::new("python3")
        .arg(script("gpu-verify"))
        .args(["1", "/dev/full"])
        .envs([("STEPS", "devices")])
        .env("SIZEWELL", stage.at("sizewell"))
        .output()
        .unwrap();
    assert_eq!(full.status.code(), Some(1), "{}", stderr(&full));
    assert!(stderr(&full).contains("/dev/full"), "{}", stderr(&full));
    // Words that it does not know.
    for (number, variables, word) in [
        ("4", [("STEPS", ""), ("LIMITS", "")], "the number of a call"),
        ("1", [("STEPS", "sweep"), ("LIMITS", "")], "this call has no step sweep: it has card devices"),
        ("1", [("STEPS", ""), ("LIMITS", "first=soon")], "LIMITS has no seconds for first"),
    ] {
        let run = stage.call(number, &variables).output().unwrap();
        assert_eq!(run.status.code(), Some(2));
        assert!(stderr(&run).contains(word), "{}", stderr(&run));
    }
    let none = stage.call("1", &[("SIZEWELL", "/nonexistent/sizewell"), ("STEPS", "devices")]).output().unwrap();
    let word = "/nonexistent/sizewell does not start: No such file or directory";
    assert!(stdout(&none).contains(word) && none.status.code() == Some(1), "{}", stdout(&none));
}

#[test]
fn what_is_packed_is_all_that_it_needs() {
    let strip = Command::new("strip").arg("--version").output();
    if no_python() || strip.is_err() || Command::new("xz").arg("--version").output().is_err() {
        return eprintln!("skipped: python3, strip or xz is missing");
    }
    let stage = Stage::new();
    let pack = |out: &str, limit: &str| {
        let mut command = Command::new(script("gpu-pack"));
        command.arg(stage.at(out)).env("LIMIT_MIB", limit);
        // Any programs will do: nothing is built.
        command.env("SIZEWELL", "/bin/true").env("DECODER_TESTS", "/bin/true").output().unwrap()
    };
    let packed = pack("gpu.tar.xz", "64");
    let said = stdout(&packed);
    assert!(packed.status.success(), "{}", stderr(&packed));
    assert!(line(&said, "sizewell").contains(" stripped") && said.contains(" of 67108864"), "{said}");
    let unpacked =
        Command::new("tar").arg("-xJf").arg(stage.at("gpu.tar.xz")).arg("-C").arg(stage.folder.path()).status();
    assert!(unpacked.unwrap().success());
    // Elsewhere, without the project around it, with the programs that lie beside it; a home that is none.
    let mut there = Command::new(stage.at("gpu/scripts/gpu-verify"));
    there.arg("1").arg(stage.at("out")).env("STEPS", "devices logits");
    there.env_remove("SIZEWELL").env_remove("DECODER_TESTS").env_remove("HOME").current_dir("/");
    let there = there.output().unwrap();
    assert!(line(&stdout(&there), "devices").contains(" ok "), "{}{}", stdout(&there), stderr(&there));
    assert!(line(&stdout(&there), "logits").contains("FAILED"), "true tests nothing: {}", stdout(&there));
    let folder = pack("folder", "64");
    assert!(folder.status.success() && stage.at("folder/scripts/check-energy").is_file(), "{}", stderr(&folder));
    // Too large, and a folder that is somebody's.
    for out in ["small.tar.xz", "small"] {
        let refused = pack(out, "0");
        assert!(!refused.status.success() && stderr(&refused).contains("more than the 0 that can be carried"));
        assert!(!stage.at(out).exists());
    }
    assert!(stderr(&pack("out", "64")).contains("was not made by this") && stage.at("out/call1.txt").is_file());
}

/// The settings of the fake for a card of this name that says it has so many MiB.
fn as_card(name: &'static str, mib: u64) -> [(&'static str, String); 3] {
    [
        ("FAKE_CUDA_NAME", name.to_string()),
        ("FAKE_CUDA_NOMINAL", (mib << 20).to_string()),
        ("FAKE_CUDA_MEMORY", (8 << 20).to_string()),
    ]
}

fn check_first(first: &std::process::Output) {
    let text = stdout(first);
    assert!(line(&text, "logits").contains("FAILED") && first.status.code() == Some(1), "{text}{}", stderr(first));
    assert!(text.contains("NO CARD: SIZEWELL_CUDA names a driver's library of its own"), "{text}");
    assert!(text.contains("data sheet: nvidia/h100-sxm-80"), "{text}");
    assert!(
        line(&text, "coldstart").contains(" ok ")
            && text.lines().any(|l| l.split_whitespace().take(2).eq(["cold", "ok"])),
        "{text}"
    );
}

#[test]
fn all_three_calls_on_the_fake_driver() {
    let Some(library) = fake_cuda::library() else { return };
    if no_python() {
        return;
    }
    let stage = Stage::new();
    let preset = stage.at("tiny.toml");
    std::fs::write(&preset, MODEL).unwrap();
    let common = [
        ("MODEL", preset.to_str().unwrap()),
        ("SMALL_MODEL", preset.to_str().unwrap()),
        ("PROMPT", "4"),
        ("GEN", "4"),
        ("QUANTS", "bf16"),
        ("BATCHES", "1"),
        ("MAX_TIME", "0.1"),
        ("METER_TIME", "0.2"),
        ("FAKE_CUDA_SM", "90"),
        ("FAKE_CUDA_POOLS", "1"),
        ("FAKE_CUDA_CARDS", "2"),
        ("FAKE_NVML_SCRIPT", "1"),
        ("SIZEWELL", env!("CARGO_BIN_EXE_sizewell")),
        ("DECODER_TESTS", "/bin/true"),
    ];
    let run = |number: &str, steps: &str, card: &[(&str, String)], more: &[(&str, &str)]| {
        let mut command = stage.call(number, &common);
        command.env("STEPS", steps).env("SIZEWELL_CUDA", library).env("SIZEWELL_NVML", fake_nvml::library());
        command.envs(card.iter().map(|(k, v)| (k, v.as_str()))).envs(more.iter().copied()).output().unwrap()
    };
    let h100 = as_card("NVIDIA H100 80GB HBM3", 81_559);

    // A test program that runs nothing has shown nothing.
    let first = run("1", "devices logits peers coldstart", &h100, &[]);
    check_first(&first);

    let second = run("2", "devices sweep energy meters", &h100, &[]);
    let text = stdout(&second);
    assert_eq!(second.status.code(), Some(0), "{text}{}", stderr(&second));
    for kind in ["read_bandwidth", "tensor_bf16", "gemv_int4", "launch_time"] {
        let roof: Vec<&str> = line(&text, kind).split_whitespace().collect();
        // "at least" stands before what a chip can beat.
        let figure = if roof[1] == "at" { roof[3] } else { roof[1] };
        assert!(figure.parse::<f64>().unwrap() > 0.0, "{text}");
    }
    assert!(text.contains("meter energy: a call"), "{text}");
    let row: Vec<&str> = text.lines().find(|l| l.contains(" 4+4 ")).unwrap().split_whitespace().collect();
    assert_eq!(row[..5], ["sweep", "bf16", "1", "4+4", "ok"], "{text}");
    // A fake's figures are no verdict.
    assert!(text.contains("every goal: cannot tell: no card was measured"), "{text}");

    let archive = stage.at("out/call2.tar.gz");
    let more = [("FROM", archive.to_str().unwrap()), ("MORE", "--no-ceilings")];
    let third = run("3", "devices sweep projection", &as_card("NVIDIA H200", 143_771), &more);
    let text = stdout(&third);
    assert_eq!(third.status.code(), Some(0), "{text}{}", stderr(&third));
    assert!(text.contains("from NVIDIA H100 80GB HBM3 to nvidia/h200-sxm-141"), "{text}");
    for time in ["bf16 b1 TTFT", "bf16 b1 TPOT"] {
        let row: Vec<&str> = line(&text, time).split_whitespace().collect();
        assert!(row[3].parse::<f64>().unwrap() > 0.0 && row.len() == 15, "{row:?}");
    }
    assert!(stage.archived("3").contains(&"call3/projection.out".to_string()));
}
