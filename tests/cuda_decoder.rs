//! The decoder on a card against the decoder on the CPU, with the fake driver that runs the kernels: the same weights
//! and the same logits within what 16 bits allow.

// A program exports nothing.
#![allow(unreachable_pub)]

mod support;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use sizewell::device::cuda::Card;
use sizewell::engine::backend::cuda::{Compute, CudaEngine, CudaModel};
use sizewell::engine::backend::ops;
use sizewell::engine::model::{Decoder, Logits};
use sizewell::engine::weights::{self as source, OpenedModel};
use sizewell::engine::{Engine, EngineError};
use sizewell::workload::{Architecture, CacheType, Case, ModelShape, Quant};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::fake_cuda::{REAL, card};
use support::{tensors, write_folder};

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
        CudaModel::load(card.clone(), shape, model.weights.as_mut(), quant, None, &mut |_, _| ()).unwrap();
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
    let mut single = CudaModel::load(card, &shape, weights, Quant::F16, None, &mut |_, _| ()).unwrap();
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

/// Whether the tests run on a real card, where a test that needs the fake's small memory has nothing to try.
fn is_real() -> bool {
    let real = std::env::var_os(REAL).is_some();
    if real {
        eprintln!("skipped: a real card has room for it");
    }
    real
}

/// An engine, and how many blocks of weights it has loaded.
fn counting(card: &Arc<Card>, model: OpenedModel) -> (CudaEngine, Arc<AtomicUsize>) {
    let mut engine = CudaEngine::new(card.clone(), model);
    let blocks = Arc::new(AtomicUsize::new(0));
    let counted = blocks.clone();
    engine.on_load(Box::new(move |_, _| {
        counted.fetch_add(1, Ordering::Relaxed);
    }));
    (engine, blocks)
}

#[test]
fn a_model_that_does_not_fit_is_refused_before_any_of_it_is_loaded() {
    let Some((card, _one)) = card() else { return };
    if is_real() {
        return;
    }
    // 135 M weights in 16 bits, on a card of 256 MiB.
    let (mut engine, blocks) = counting(&card, source::open("smollm2-135m", 0, false).unwrap());
    for batch in [1, 2] {
        match engine.prepare(&case(Quant::F16, batch, 4, 2)) {
            Err(EngineError::DoesNotFit { needed, available }) => {
                assert_eq!(available, card.memory().unwrap().1);
                assert!(needed.0 > 269e6 && needed.0 < 285e6, "{needed}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((blocks.load(Ordering::Relaxed), card.upload_time().0, card.allocated_peak().0), (0, 0.0, 0.0));
}

#[test]
fn what_a_case_needs_is_counted_to_the_byte_before_it_is_loaded() {
    let Some((card, _one)) = card() else { return };
    let shape = shape(Architecture::Qwen2);
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), &shape, &tensors(&shape), DType::F32, 1);
    // Rows for the weight-only kernels, and for a matrix product of widened weights.
    for case in [case(Quant::F16, 1, 4, 2), case(Quant::F16, 3, 9, 70), case(Quant::Int8, 3, 9, 5)] {
        let mut engine = CudaEngine::new(card.clone(), open(folder.path()));
        let needed = engine.needed(&case);
        engine.prepare(&case).unwrap();
        assert_eq!(engine.needed(&case), card.held(), "{case}: as it was loaded");
        // Counted: biases in 32 bits, which the card has in 16. Not counted: a number of 4 bytes, in 16.
        let biases = (shape.layers * (shape.q_width() + 2 * shape.kv_width()) * 2) as f64;
        assert_eq!(card.held().0, needed.0 - biases + 16.0, "{case}");
    }
}

#[test]
fn a_load_that_ends_where_the_memory_does_is_not_tried_again() {
    let Some((card, _one)) = card() else { return };
    if is_real() {
        return;
    }
    // A file in 4 bits whose embedding is in 16: more than its level says.
    let shape =
        ModelShape { vocab_size: 24 << 10, intermediate_size: 24 << 10, layers: 1, ..shape(Architecture::Llama) };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mixed.gguf");
    let all = tensors(&shape);
    let mut stored = support::gguf_tensors(&shape, &all, GgmlDType::Q4_0);
    for (name, tensor) in &mut stored {
        if name == "token_embd.weight" {
            let dense = tensor.dequantize(&Device::Cpu).unwrap();
            *tensor = QTensor::quantize(&dense, GgmlDType::F16).unwrap();
        }
    }
    support::save_gguf(&file, &support::gguf_metadata(&shape), &stored);
    let model = open(&file);
    let quant = model.weights.native_quant().unwrap();
    assert_eq!(quant, Quant::Int4);
    let (mut engine, blocks) = counting(&card, model);
    let case = case(quant, 1, 4, 2);
    let (free, total) = card.memory().unwrap();
    // Room for what is counted, its margin of a 64th, and little more.
    let spare = engine.needed(&case).0 + total.0 / 64.0 + 64e3;
    let _others = Card::open(0).unwrap().alloc((free.0 - spare) as usize).unwrap();
    let refused = |engine: &mut CudaEngine| match engine.prepare(&case) {
        Err(EngineError::DoesNotFit { needed, available }) => assert!(needed.0 > available.0, "{needed} {available}"),
        other => panic!("{other:?}"),
    };
    refused(&mut engine);
    let (loaded, uploaded) = (blocks.load(Ordering::Relaxed), card.upload_time());
    assert!(uploaded.0 > 0.0, "it was tried");
    refused(&mut engine);
    assert_eq!((blocks.load(Ordering::Relaxed), card.upload_time()), (loaded, uploaded), "and not again");
}

#[test]
fn rows_whose_weights_move_more_than_once_say_so() {
    let Some((card, _one)) = card() else { return };
    let shape = shape(Architecture::Llama);
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), &shape, &tensors(&shape), DType::F32, 1);
    let mut engine = CudaEngine::new(card.clone(), open(folder.path()));
    let mut of = |quant, batch, gen_tokens| engine.prepare(&case(quant, batch, 2, gen_tokens)).unwrap();
    let twice = Some("a decode step of batch 9 reads the weights 2 times".to_string());
    for (quant, at_17) in [
        (Quant::Bf16, None),
        (Quant::Int8, Some("a decode step of batch 17 widens quantized weights to 16 bits in memory first")),
    ] {
        assert_eq!(of(quant, 8, 4).rereads, None, "{quant}");
        assert_eq!(of(quant, 9, 4).rereads, twice, "{quant}");
        assert_eq!(of(quant, 17, 4).rereads.as_deref(), at_17.or(None), "{quant}");
        // Of a case that decodes nothing there is nothing to doubt.
        assert_eq!(of(quant, 9, 1).rereads, None, "{quant}");
    }
    // Few rows have no matrix product; of many it is said by whom it is, and why not by the vendor's library.
    assert!(of(Quant::Bf16, 1, 4).remarks.is_empty());
    let remarks = of(Quant::Bf16, 17, 4).remarks;
    assert_eq!(remarks.len(), 1, "{remarks:?}");
    match card.blas() {
        Ok(_) => assert_eq!(remarks[0], "matrix products by cuBLASLt"),
        Err(why) => assert_eq!(remarks[0], format!("matrix products by the project's own kernel: {why}")),
    }
}

#[test]
fn no_kernel_is_loaded_while_a_case_is_measured() {
    let Some((card, _one)) = card() else { return };
    let Some(library) = support::fake_cuda::library().filter(|_| !is_real()) else { return };
    // SAFETY: it is the library that is in use; the function takes nothing and counts.
    let library = unsafe { libloading::Library::new(library) }.unwrap();
    let loaded = || {
        // SAFETY: the function takes nothing and counts.
        unsafe { library.get::<unsafe extern "C" fn() -> i32>(b"fakeFunctionsLoaded\0").unwrap()() }
    };
    let shape = ModelShape { heads: 2, kv_heads: 1, head_dim: 64, layers: 1, ..shape(Architecture::Qwen2) };
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), &shape, &tensors(&shape), DType::F32, 1);
    let mut engine = CudaEngine::new(card.clone(), open(folder.path()));
    // Few rows, and more than the weight-only kernels take.
    for (quant, batch, seq) in [(Quant::F16, 1, 3), (Quant::Int8, 1, 17)] {
        let case = case(quant, batch, seq, 3);
        engine.prepare(&case).unwrap();
        let before = loaded();
        let prompts = prompts(batch, seq, shape.vocab_size);
        let prompts: Vec<Vec<u32>> = prompts.chunks(seq).map(<[u32]>::to_vec).collect();
        engine.iterate(&case, &prompts, &mut || ControlFlow::Continue(())).unwrap();
        assert!(before > 0);
        assert_eq!(loaded(), before, "{case} loads kernels in its first iteration");
    }
}

#[test]
fn a_card_is_one_for_all_that_have_it_open() {
    let Some((_card, _one)) = card() else { return };
    let first = Card::shared(0).unwrap();
    assert!(Arc::ptr_eq(&first, &Card::shared(0).unwrap()));
    let facts = first.facts.clone();
    drop(first);
    assert_eq!(Card::shared(0).unwrap().facts, facts);
}

#[test]
fn what_does_not_fit_or_is_not_supported_is_said() {
    let Some((card, _one)) = card() else { return };
    let shape = ModelShape { max_context: 1 << 24, ..shape(Architecture::Llama) };
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), &shape, &tensors(&shape), DType::F32, 1);
    let mut engine = CudaEngine::new(card.clone(), open(folder.path()));
    if is_real() {
        return;
    }
    let huge = case(Quant::F16, 64, 4096, 4);
    match engine.prepare(&huge) {
        Err(EngineError::DoesNotFit { needed, .. }) => assert!(needed.0 > engine.needed(&huge).0, "the whole case"),
        other => panic!("{other:?}"),
    }
    assert_eq!(card.upload_time().0, 0.0, "the cache alone is too large");
    // The sweep goes on: the next case has the memory that the last one was refused.
    engine.prepare(&case(Quant::F16, 1, 4, 2)).unwrap();
    for quant in [Quant::F32, Quant::Q5K] {
        assert!(matches!(engine.prepare(&case(quant, 1, 4, 2)), Err(EngineError::Unsupported(_))), "{quant}");
    }
    let odd = ModelShape { head_dim: 12, ..shape };
    write_folder(folder.path(), &odd, &tensors(&odd), DType::F32, 1);
    let refused = CudaEngine::new(card, open(folder.path())).prepare(&case(Quant::F16, 1, 4, 2));
    assert!(refused.unwrap_err().to_string().contains("heads of 12"));
}

/// Cards of other generations, without memory pools too: each in a process of its own, as the fake asks its settings once
/// and again.
#[test]
fn cards_of_every_generation_give_the_logits_of_the_cpu() {
    if is_real() || support::fake_cuda::library().is_none() {
        return;
    }
    let test = |filter: &str, settings: &[(&str, &str)]| {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let output = command.args(["--exact", filter]).envs(settings.iter().copied()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{settings:?}: {said}");
    };
    for generation in ["75", "80", "90"] {
        let pools = ("FAKE_CUDA_POOLS", "1");
        test("every_level_gives_the_logits_of_the_cpu", &[("FAKE_CUDA_SM", generation), pools]);
        test("a_recorded_step_says_what_single_steps_say", &[("FAKE_CUDA_SM", generation), pools]);
    }
    test("a_window_and_wide_heads_are_kept", &[("FAKE_CUDA_SM", "90"), ("FAKE_CUDA_POOLS", "0")]);
}
