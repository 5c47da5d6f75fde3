//! The decoder on a card against the decoder on the CPU, with the fake driver that runs the kernels: the same weights
//! and the same logits within what 16 bits allow.

mod support;

use candle_core::{DType, Device, Tensor};
use sizewell::device::cuda::{self, Card};
use sizewell::engine::candle::cuda::{Compute, CudaDecoder, CudaEngine};
use sizewell::engine::candle::decoder::{Decoder, Logits};
use sizewell::engine::candle::ops;
use sizewell::engine::candle::source::{self, OpenedModel};
use sizewell::engine::{Engine, EngineError};
use sizewell::workload::{Architecture, CacheType, Case, ModelShape, Quant};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use support::{tensors, write_folder};

/// Set, the tests run on the machine's own first card instead of the fake: `scripts/gpu-verify` does so.
const REAL: &str = "SIZEWELL_GPU_TESTS";

/// The fake card, for one test at a time. `None` where there is no fake.
fn card() -> Option<(Arc<Card>, MutexGuard<'static, ()>)> {
    static ONE: Mutex<()> = Mutex::new(());
    static USED: OnceLock<bool> = OnceLock::new();
    let one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let used = *USED.get_or_init(|| {
        if std::env::var_os(REAL).is_some() {
            return true;
        }
        let library = support::fake_cuda::library();
        library.inspect(|library| cuda::use_library(library).unwrap()).is_some()
    });
    used.then(|| (Arc::new(Card::open(0).unwrap()), one))
}

/// A shape whose widths suit every kernel.
fn shape(architecture: Architecture) -> ModelShape {
    ModelShape { hidden_size: 128, intermediate_size: 256, layers: 2, ..support::shape(architecture) }
}

fn open(path: &Path) -> OpenedModel {
    source::open(path.to_str().unwrap(), 0, false).unwrap()
}

fn prompts(batch: usize, seq: usize, vocab: usize) -> Vec<u32> {
    (0..batch * seq).map(|i| ((i * 37 + 11) % vocab) as u32).collect()
}

/// Logits after the prompt and after two more steps, by the CPU, fed with the tokens that the card chose.
fn on_cpu(model: &mut OpenedModel, quant: Quant, prompts: &[u32], batch: usize, chosen: &[Vec<u32>]) -> Vec<Vec<f32>> {
    by_decoder(model, quant, ops::Compute::own(), prompts, batch, chosen)
}

/// The same by the decoder on candle's tensors, wherever and with whichever kernels it computes.
fn by_decoder(
    model: &mut OpenedModel,
    quant: Quant,
    compute: ops::Compute,
    prompts: &[u32],
    batch: usize,
    chosen: &[Vec<u32>],
) -> Vec<Vec<f32>> {
    let divisors = model.weights.rope_divisors().unwrap();
    let device = compute.device.clone();
    let mut decoder =
        Decoder::load(&model.shape, model.weights.as_mut(), quant, divisors, compute, &mut |_, _| ()).unwrap();
    let seq = prompts.len() / batch;
    decoder.allocate(batch, seq + chosen.len(), CacheType::F32).unwrap();
    let mut input = Tensor::from_vec(prompts.to_vec(), (batch, seq), &device).unwrap();
    let mut all = Vec::new();
    for tokens in chosen {
        let logits = decoder.forward(&input, Logits::Last).unwrap().to_dtype(DType::F32).unwrap();
        all.push(logits.flatten_all().unwrap().to_vec1::<f32>().unwrap());
        input = Tensor::from_vec(tokens.clone(), (batch, 1), &device).unwrap();
    }
    all
}

fn values(bits: Vec<u16>, compute: Compute) -> Vec<f32> {
    let value = |bits| match compute {
        Compute::F16 => half::f16::from_bits(bits).to_f32(),
        Compute::Bf16 => half::bf16::from_bits(bits).to_f32(),
    };
    bits.into_iter().map(value).collect()
}

/// Size of the difference over the size of the second.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>().sqrt();
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
}

/// Runs prompt and two steps on both and compares the logits.
fn compare(card: &Arc<Card>, shape: &ModelShape, quant: Quant, batch: usize, seq: usize, tolerance: f32) {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), shape, &tensors(shape), DType::F32, 1);
    let mut model = open(folder.path());
    let mut decoder =
        CudaDecoder::load(card.clone(), shape, model.weights.as_mut(), quant, None, &mut |_, _| ()).unwrap();
    decoder.allocate(batch, seq + 3, seq).unwrap();
    let prompts = prompts(batch, seq, shape.vocab_size);
    decoder.set_ids(&prompts).unwrap();
    let (mut got, mut chosen) = (Vec::new(), Vec::new());
    for step in 0..3 {
        decoder.step(if step == 0 { seq } else { 1 }).unwrap();
        got.push(values(decoder.logits().unwrap(), decoder.compute()));
        chosen.push(decoder.ids().unwrap().download::<u32>(batch).unwrap());
    }
    assert!(decoder.was_finite().unwrap());
    for (step, (got, expected)) in got.iter().zip(on_cpu(&mut model, quant, &prompts, batch, &chosen)).enumerate() {
        let off = difference(got, &expected);
        let what = format!("{:?} {quant} b{batch} p{seq} step {step}", shape.architecture);
        assert!(off < tolerance, "{what}: {off}");
        eprintln!("{what}: {off}");
        // The token is that of the card's own logits.
        for (sequence, row) in got.chunks(shape.vocab_size).enumerate() {
            let best = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(row.iter().position(|v| *v == best).unwrap() as u32, chosen[step][sequence]);
        }
    }
}

#[test]
fn every_family_gives_the_logits_of_the_cpu() {
    let Some((card, _one)) = card() else { return };
    for architecture in [Architecture::Llama, Architecture::Mistral, Architecture::Qwen2, Architecture::Qwen3] {
        compare(&card, &shape(architecture), Quant::F16, 2, 5, 3e-3);
        compare(&card, &shape(architecture), Quant::Bf16, 1, 5, 2e-2);
    }
}

/// The second set of kernels: it is there on a real card only, in a build with candle's CUDA backend.
#[test]
fn candles_own_kernels_on_a_card_give_the_logits_of_the_cpu() {
    if !candle_core::utils::cuda_is_available() || std::env::var_os(REAL).is_none() {
        return eprintln!("skipped: needs --features cuda and {REAL}=1 on a machine with a card");
    }
    let device = Device::new_cuda(0).unwrap();
    let shape = ModelShape { hidden_size: 256, heads: 4, kv_heads: 2, head_dim: 64, ..shape(Architecture::Llama) };
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), &shape, &tensors(&shape), DType::F32, 1);
    let mut model = open(folder.path());
    let prompts = prompts(2, 19, shape.vocab_size);
    let chosen = [vec![3, 5], vec![7, 11], vec![13, 17]];
    for (quant, tolerance) in [(Quant::F16, 3e-3), (Quant::Bf16, 2e-2), (Quant::Int8, 6e-2), (Quant::Int4, 1e-1)] {
        let compute = ops::Compute::candle(&device, quant);
        let card = by_decoder(&mut model, quant, compute, &prompts, 2, &chosen);
        for (step, (card, cpu)) in card.iter().zip(on_cpu(&mut model, quant, &prompts, 2, &chosen)).enumerate() {
            let off = difference(card, &cpu);
            assert!(off < tolerance, "{quant} step {step}: {off}");
            eprintln!("candle's kernels, {quant} step {step}: {off}");
        }
    }
}

#[test]
fn every_level_gives_the_logits_of_the_cpu() {
    let Some((card, _one)) = card() else { return };
    let shape = ModelShape { hidden_size: 256, heads: 4, kv_heads: 2, head_dim: 64, ..shape(Architecture::Llama) };
    // Few rows go through the weight-only kernels, many through a matrix product of widened weights.
    for (batch, seq) in [(1, 3), (3, 4), (2, 19)] {
        for (quant, tolerance) in [(Quant::F16, 3e-3), (Quant::Bf16, 2e-2), (Quant::Int8, 6e-2), (Quant::Int4, 1e-1)] {
            compare(&card, &shape, quant, batch, seq, tolerance);
        }
    }
}

#[test]
fn a_window_and_wide_heads_are_kept() {
    let Some((card, _one)) = card() else { return };
    let shape = ModelShape {
        hidden_size: 256,
        heads: 4,
        kv_heads: 1,
        head_dim: 128,
        sliding_window: Some(6),
        ..shape(Architecture::Mistral)
    };
    compare(&card, &shape, Quant::Bf16, 1, 70, 2e-2);
    compare(&card, &shape, Quant::F16, 2, 9, 3e-3);
}

fn case(quant: Quant, batch: usize, prompt_tokens: usize, gen_tokens: usize) -> Case {
    Case::new(quant, batch, prompt_tokens, gen_tokens)
}

#[test]
fn a_recorded_step_says_what_single_steps_say() {
    let Some((card, _one)) = card() else { return };
    let shape = shape(Architecture::Llama);
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), &shape, &tensors(&shape), DType::F32, 1);
    let mut engine = CudaEngine::new(card.clone(), open(folder.path()));
    let case = case(Quant::F16, 2, 4, 6);
    let prepared = engine.prepare(&case).unwrap();
    assert!(prepared.loaded && prepared.weight_bytes.0 > 0.0);
    let prompts: Vec<Vec<u32>> = prompts(2, 4, shape.vocab_size).chunks(4).map(<[u32]>::to_vec).collect();
    let mut steps = 0;
    let mut count = || {
        steps += 1;
        ControlFlow::Continue(())
    };
    let generated = engine.iterate(&case, &prompts, &mut count).unwrap();
    assert_eq!((steps, generated.finite), (6, true));
    let again = engine.iterate(&case, &prompts, &mut || ControlFlow::Continue(())).unwrap();
    assert_eq!(again, generated);
    let mut model = open(folder.path());
    let weights = model.weights.as_mut();
    let mut single = CudaDecoder::load(card, &shape, weights, Quant::F16, None, &mut |_, _| ()).unwrap();
    single.allocate(2, 10, 4).unwrap();
    single.set_ids(&prompts.concat()).unwrap();
    for step in 0..6 {
        single.step(if step == 0 { 4 } else { 1 }).unwrap();
        let ids = single.ids().unwrap().download::<u32>(2).unwrap();
        assert_eq!(ids, [generated.tokens[0][step], generated.tokens[1][step]]);
    }
    let stopped = engine.iterate(&case, &prompts, &mut || ControlFlow::Break(()));
    assert!(matches!(stopped, Err(EngineError::Stopped)));
}

#[test]
fn what_does_not_fit_or_is_not_supported_is_said() {
    let Some((card, _one)) = card() else { return };
    let shape = ModelShape { max_context: 1 << 24, ..shape(Architecture::Llama) };
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), &shape, &tensors(&shape), DType::F32, 1);
    let mut engine = CudaEngine::new(card.clone(), open(folder.path()));
    if std::env::var_os(REAL).is_some() {
        eprintln!("skipped: a real card has room for it");
        return;
    }
    let huge = engine.prepare(&case(Quant::F16, 64, 4096, 4));
    assert!(matches!(huge, Err(EngineError::DoesNotFit { .. })), "{huge:?}");
    // The sweep goes on: the next case has the memory that the last one was refused.
    engine.prepare(&case(Quant::F16, 1, 4, 2)).unwrap();
    assert!(matches!(engine.prepare(&case(Quant::F32, 1, 4, 2)), Err(EngineError::Unsupported(_))));
    let odd = ModelShape { head_dim: 12, ..shape };
    write_folder(folder.path(), &odd, &tensors(&odd), DType::F32, 1);
    let refused = CudaEngine::new(card, open(folder.path())).prepare(&case(Quant::F16, 1, 4, 2));
    assert!(refused.unwrap_err().to_string().contains("heads of 12"));
}
