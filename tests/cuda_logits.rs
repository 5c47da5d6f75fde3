//! The bits of the logits that a card computes, for every family and level, on fake cards of three generations, as they were
//! recorded: a change of structure is one that leaves them as they are. `SIZEWELL_UPDATE_LOGITS=1` writes the record anew,
//! after a change that is meant to compute something else. The fake computes with the host's functions, so that the record is
//! of one kind of machine; on others the test says so and passes.

mod support;

use candle_core::DType;
use sizewell::device::cuda::{self, Card};
use sizewell::engine::backend::cuda::CudaDecoder;
use sizewell::engine::weights as source;
use sizewell::workload::{Architecture, ModelShape, Quant};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use support::{tensors, write_folder};

/// In a child process: the generation of its card, whose record is printed.
const CHILD: &str = "SIZEWELL_CUDA_LOGITS_OF";
const GENERATIONS: [&str; 3] = ["75", "80", "90"];
const LEVELS: [Quant; 6] = [Quant::F16, Quant::Bf16, Quant::Int8, Quant::Int4, Quant::Q4_0, Quant::Q6K];

/// Models of every family whose widths suit every kernel, and heads of another width.
fn models() -> Vec<(&'static str, ModelShape)> {
    let wide = |architecture| ModelShape {
        hidden_size: 256,
        intermediate_size: 256,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 64,
        ..support::shape(architecture)
    };
    vec![
        ("llama", wide(Architecture::Llama)),
        ("llama-narrow", ModelShape { heads: 6, head_dim: 16, ..wide(Architecture::Llama) }),
        ("mistral-window", ModelShape { sliding_window: Some(6), ..wide(Architecture::Mistral) }),
        ("qwen2", wide(Architecture::Qwen2)),
        ("qwen3", wide(Architecture::Qwen3)),
    ]
}

fn ids(count: usize, vocabulary: usize) -> Vec<u32> {
    (0..count).map(|index| ((index * 37 + 11) % vocabulary) as u32).collect()
}

/// A prefill of few rows and one of many, each with decode steps behind it; chosen tokens are hashed as well.
fn bits(card: &Arc<Card>, path: &Path, quant: Quant) -> String {
    let mut model = source::open(path, 0, false).unwrap();
    let weights = model.weights.as_mut();
    let mut decoder = CudaDecoder::load(card.clone(), &model.shape, weights, quant, None, &mut |_, _| ()).unwrap();
    let mut hasher = blake3::Hasher::new();
    for (batch, seq) in [(1, 3), (2, 11)] {
        decoder.allocate(batch, seq + 2, seq).unwrap();
        decoder.set_ids(&ids(batch * seq, model.shape.vocab_size)).unwrap();
        for step in 0..3 {
            decoder.step(if step == 0 { seq } else { 1 }).unwrap();
            decoder.logits().unwrap().iter().for_each(|bits| {
                hasher.update(&bits.to_le_bytes());
            });
            let chosen = decoder.ids().unwrap().download::<u32>(batch).unwrap();
            chosen.iter().for_each(|token| {
                hasher.update(&token.to_le_bytes());
            });
        }
        assert!(decoder.was_finite().unwrap());
    }
    hasher.finalize().to_hex()[..16].to_string()
}

/// Everything that the card of this process computes, a line for each.
fn all(generation: &str, library: &Path) -> Vec<(String, String)> {
    cuda::use_library(library).unwrap();
    let card = Arc::new(Card::open(0).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    for (name, shape) in models() {
        let path = folder.path().join(name);
        write_folder(&path, &shape, &tensors(&shape), DType::F32, 1);
        for quant in LEVELS {
            all.push((format!("sm_{generation} {name} {quant}"), bits(&card, &path, quant)));
        }
    }
    all
}

fn record() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/logits/cuda-{}.txt", std::env::consts::ARCH))
}

#[test]
fn every_bit_of_a_cards_logits_is_as_it_was() {
    let Some(library) = support::fake_cuda::library() else { return };
    if let Ok(generation) = std::env::var(CHILD) {
        all(&generation, library).iter().for_each(|(name, bits)| println!("\nBITS {bits} {name}"));
        return;
    }
    let children = GENERATIONS.map(|generation| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "every_bit_of_a_cards_logits_is_as_it_was", "--nocapture"]);
        command.envs([(CHILD, generation), ("FAKE_CUDA_SM", generation)]);
        command.stdout(std::process::Stdio::piped()).spawn().unwrap()
    });
    let mut all = BTreeMap::new();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let said = String::from_utf8(output.stdout).unwrap();
        let lines = said.lines().filter_map(|line| line.strip_prefix("BITS ")?.split_once(' '));
        all.extend(lines.map(|(bits, name)| (name.to_string(), bits.to_string())));
    }
    assert_eq!(all.len(), GENERATIONS.len() * models().len() * LEVELS.len());
    let text: String = all.iter().map(|(name, bits)| format!("{bits} {name}\n")).collect();
    if std::env::var_os("SIZEWELL_UPDATE_LOGITS").is_some() {
        std::fs::write(record(), &text).unwrap();
    }
    let Ok(recorded) = std::fs::read_to_string(record()) else {
        eprintln!("skipped: there is no record for {}", record().display());
        return;
    };
    let known = recorded.lines().filter_map(|line| line.split_once(' '));
    let differ: Vec<_> = known.filter(|(bits, name)| all.get(*name).map(String::as_str) != Some(bits)).collect();
    assert!(differ.is_empty(), "{} of {} differ: {differ:?}", differ.len(), all.len());
    assert_eq!(recorded.lines().count(), all.len(), "what is new has no record yet");
}
