//! The bits of every logit, for every family and level, as they were recorded: a change of structure is one that leaves them
//! as they are. Sums depend on the instruction set in their last bits, so that each has its own record; where there is none
//! for this CPU, the test says so and passes. `SIZEWELL_UPDATE_LOGITS=1` writes the record anew, after a change that is meant
//! to compute something else.

use crate::support;
use crate::support::{tensors, write_folder, write_gguf};
use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device, Tensor};
use sizewell::engine::backend::cpu::simd::Level;
use sizewell::engine::backend::ops::{Compute, Kernels};
use sizewell::engine::model::ragged::Segment;
use sizewell::engine::model::{Decoder, Logits};
use sizewell::engine::session::encoder::EncoderEngine;
use sizewell::engine::weights::synthetic;
use sizewell::engine::weights::{self as source, OpenedModel};
use sizewell::workload::{Architecture, CacheType, ModelShape, Preset, Quant, RopeScaling};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A small shape of a family, whose rows have an even number of blocks: candle's product of `Q5_1` takes no others.
fn shape(architecture: Architecture) -> ModelShape {
    ModelShape { hidden_size: 128, heads: 8, ..support::shape(architecture) }
}

/// Decoders of every family, and what their shapes can have besides.
fn decoders() -> Vec<(&'static str, ModelShape)> {
    let llama3 = RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 64 };
    let llama = shape(Architecture::Llama);
    vec![
        ("llama-3", ModelShape { rope_scaling: Some(llama3), tied_embeddings: true, ..llama.clone() }),
        ("llama-wide", ModelShape { hidden_size: 256, intermediate_size: 512, ..llama.clone() }),
        ("llama", llama),
        ("mistral", shape(Architecture::Mistral)),
        ("mistral-window", ModelShape { sliding_window: Some(9), ..shape(Architecture::Mistral) }),
        ("qwen2", shape(Architecture::Qwen2)),
        ("qwen3", shape(Architecture::Qwen3)),
        ("gemma3", shape(Architecture::Gemma3)),
    ]
}

fn ids(count: usize, vocabulary: usize) -> Vec<u32> {
    (0..count).map(|index| ((index * 37 + 11) % vocabulary) as u32).collect()
}

/// The bits of tensors, one behind the other.
#[derive(Default)]
struct Bits(blake3::Hasher);

impl Bits {
    fn add(&mut self, tensor: &Tensor) {
        let values = tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(values.iter().all(|value| value.is_finite()));
        self.add_values(&values);
    }

    fn add_values(&mut self, values: &[f32]) {
        for value in values {
            self.0.update(&value.to_bits().to_le_bytes());
        }
    }

    fn name(&self) -> String {
        self.0.finalize().to_hex()[..16].to_string()
    }
}

/// What a decoder computes: a prefill of two, steps behind it, all positions at once, and pieces of different lengths.
fn bits_of_decoder(model: &mut OpenedModel, quant: Quant, compute: Compute) -> String {
    let divisors = model.weights.rope_divisors().unwrap();
    let own = compute.kernels == Kernels::Own;
    let mut decoder =
        Decoder::load(&model.shape, model.weights.as_mut(), quant, divisors, compute, &mut |_, _| ()).unwrap();
    let vocabulary = model.shape.vocab_size;
    let batch = |tokens: Vec<u32>, seq: usize| Tensor::from_vec(tokens, ((), seq), &Device::Cpu).unwrap();
    let mut bits = Bits::default();
    let kinds = if own { CacheType::ALL.to_vec() } else { vec![CacheType::F32] };
    for kind in kinds {
        decoder.allocate(2, 40, kind).unwrap();
        bits.add(&decoder.forward(&batch(ids(26, vocabulary), 13), Logits::Last).unwrap());
        for step in 0..3 {
            bits.add(&decoder.forward(&batch(ids(2 + step, vocabulary)[step..].to_vec(), 1), Logits::Last).unwrap());
        }
        bits.add(&decoder.forward(&batch(ids(10, vocabulary), 5), Logits::All).unwrap());
        decoder.reset();
        let (prompt, token) = (ids(7, vocabulary), ids(1, vocabulary));
        let piece = |row, past, tokens| Segment { row, past, tokens, sampled: true };
        bits.add(&decoder.forward_segments(&[piece(0, 0, &prompt)]).unwrap());
        bits.add(&decoder.forward_segments(&[piece(0, 7, &token), piece(1, 0, &prompt[..4])]).unwrap());
    }
    bits.name()
}

/// Embeddings, or logits of images at two resolutions.
fn bits_of_encoder(architecture: Architecture, quant: Quant) -> String {
    let mut bits = Bits::default();
    let mut engine = EncoderEngine::new(synthetic::open(&encoder(architecture), 7), Kernels::Own);
    match architecture {
        Architecture::Vit => {
            for side in [32, 40] {
                let count = 2 * 3 * side * side;
                let pixels: Vec<f32> = (0..count).map(|index| (index * 31 % 97) as f32 / 48.0 - 1.0).collect();
                let pixels = Tensor::from_vec(pixels, (2, 3, side, side), &Device::Cpu).unwrap();
                bits.add(&engine.classify(quant, &pixels).unwrap());
            }
        }
        _ => {
            for vector in engine.embed(quant, &[ids(9, 131), ids(9, 130), ids(40, 131)]).unwrap() {
                bits.add_values(&vector);
            }
        }
    }
    bits.name()
}

fn encoder(architecture: Architecture) -> Preset {
    support::preset(support::encoder_shape(architecture))
}

fn open(path: &Path) -> OpenedModel {
    source::open(path, 0, false).unwrap()
}

/// All that is recorded, by what it is of.
fn all() -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let mut all = BTreeMap::new();
    for (name, shape) in decoders() {
        let (weights, path) = (tensors(&shape), folder.path().join(name));
        write_folder(&path, &shape, &weights, DType::F32, 1);
        let gguf = folder.path().join(format!("{name}.gguf"));
        write_gguf(&gguf, &shape, &weights, GgmlDType::F32);
        for quant in Quant::ALL {
            let bits = bits_of_decoder(&mut open(&path), quant, Compute::own());
            // What is in the file is the same, but for what the tests' writer of GGUF files does not say.
            if shape.rope_scaling.is_none() && shape.sliding_window.is_none() {
                let from_gguf = bits_of_decoder(&mut open(&gguf), quant, Compute::own());
                assert_eq!(bits, from_gguf, "{name} {quant}: the files differ");
            }
            all.insert(format!("{name} {quant}"), bits);
        }
        for quant in [Quant::F32, Quant::F16, Quant::Int8] {
            let candle = Compute::candle(&Device::Cpu, quant);
            all.insert(format!("{name} {quant} candle"), bits_of_decoder(&mut open(&path), quant, candle));
        }
    }
    for architecture in [Architecture::Bert, Architecture::Vit] {
        for quant in Quant::ALL {
            all.insert(format!("{architecture} {quant}"), bits_of_encoder(architecture, quant));
        }
    }
    all
}

fn record(level: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/logits").join(format!("{level}.txt"))
}

#[test]
fn every_bit_of_every_logit_is_as_it_was() {
    let path = record(Level::best().name());
    let all = all();
    let text: String = all.iter().map(|(name, bits)| format!("{bits} {name}\n")).collect();
    if std::env::var_os("SIZEWELL_UPDATE_LOGITS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let Ok(recorded) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: there is no record for {}", path.display());
        return;
    };
    let known: BTreeMap<&str, &str> =
        recorded.lines().filter_map(|line| line.split_once(' ').map(|(bits, name)| (name, bits))).collect();
    let differ: Vec<_> =
        known.iter().filter(|(name, bits)| all.get(**name).map(String::as_str) != Some(**bits)).collect();
    assert!(differ.is_empty(), "{} of {} differ: {differ:?}", differ.len(), known.len());
    assert_eq!(all.len(), known.len(), "what is new has no record yet");
}

#[test]
fn a_bit_more_is_seen() {
    let mut bits = [Bits::default(), Bits::default()];
    bits[0].add_values(&[1.0]);
    bits[1].add_values(&[1.0 + f32::EPSILON]);
    assert_ne!(bits[0].name(), bits[1].name());
}
