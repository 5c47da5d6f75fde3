//! A model and a workload that take no time, for tests of the whole program.

use std::path::{Path, PathBuf};
use std::process::Command;

const PRESET: &str = r#"
name = "tiny"
about = "Tiny"
source = "https://example.org"
[shape]
architecture = "llama"
hidden_size = 64
intermediate_size = 256
layers = 2
heads = 4
kv_heads = 2
head_dim = 16
vocab_size = 128
max_context = 128
norm_eps = 1e-5
rope_theta = 10000.0
tied_embeddings = true
"#;

const WORKLOAD: &str = r#"
name = "tiny"
about = "for tests"
quant = ["f16", "int8"]
[[grid]]
batch = [1, 2, 4]
prompt = [8]
gen_tokens = [4]
[limits]
warmup_min_s = 0.02
warmup_max_s = 0.1
warmup_tolerance = 0.05
min_samples = 5
max_samples = 50
min_time_s = 0.05
max_time_s = 0.1
precision = 0.05
timeout_s = 10.0
"#;

/// Writes preset and workload into `folder`.
pub fn write(folder: &Path) -> (PathBuf, PathBuf) {
    let (preset, workload) = (folder.join("tiny.toml"), folder.join("workload.toml"));
    std::fs::write(&preset, PRESET).unwrap();
    std::fs::write(&workload, WORKLOAD).unwrap();
    (preset, workload)
}

/// The program, without the environment variables that would change what it does.
pub fn sizewell() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sizewell"));
    for name in ["HF_HOME", "HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "CANDLE_NUM_THREADS"] {
        command.env_remove(name);
    }
    // Prices that the user of this machine has fetched are not ours to test with.
    command.env("SIZEWELL_CATALOG", "/nowhere/catalog");
    command
}

/// `profile` of the tiny model into `output`.
pub fn profile(folder: &Path, output: &Path) -> Command {
    let (preset, workload) = write(folder);
    let mut command = sizewell();
    command.args(["profile", "--no-ceilings", "--threads", "2", "--model"]).arg(preset);
    command.arg("--workload").arg(workload).arg("-o").arg(output);
    command
}
