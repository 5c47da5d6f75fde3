//! The decoder against itself: any batch, any split into prefill and decode, last and all positions, any kernels.

use crate::support::{relative_error, shape, tensors, write_folder, write_gguf};
use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device, Tensor};
use sizewell::engine::backend::ops::Compute;
use sizewell::engine::model::{Decoder, Logits};
use sizewell::engine::weights::{self as source, OpenedModel};
use sizewell::workload::{Architecture, CacheType, ModelShape, Quant};
use std::path::Path;

pub const TOLERANCE: f32 = 1e-3;

pub fn tokens(count: usize, vocab: usize) -> Vec<u32> {
    (0..count).map(|i| ((i * 37 + 11) % vocab) as u32).collect()
}

pub fn row(tokens: &[u32]) -> Tensor {
    Tensor::from_vec(tokens.to_vec(), (1, tokens.len()), &Device::Cpu).unwrap()
}

pub fn open(path: &Path) -> OpenedModel {
    source::open(path.to_str().unwrap(), 0, false).unwrap()
}

pub fn load(model: &mut OpenedModel, quant: Quant) -> Decoder {
    let divisors = model.weights.rope_divisors().unwrap();
    Decoder::load(&model.shape, model.weights.as_mut(), quant, divisors, Compute::own(), &mut |_, _| ()).unwrap()
}

#[test]
fn a_gguf_file_and_a_folder_of_the_same_weights_are_the_same_model() {
    for architecture in Architecture::ALL.iter().copied().filter(|a| a.family().runs && !a.is_encoder()) {
        let shape = shape(architecture);
        let folder = tempfile::tempdir().unwrap();
        let weights = tensors(&shape);
        write_folder(&folder.path().join("hf"), &shape, &weights, DType::F32, 3);
        write_gguf(&folder.path().join("m.gguf"), &shape, &weights, GgmlDType::F32);
        let logits = |path: &Path| {
            let mut model = open(path);
            let mut decoder = load(&mut model, Quant::F32);
            decoder.allocate(1, 32, CacheType::F32).unwrap();
            decoder.forward(&row(&tokens(17, shape.vocab_size)), Logits::All).unwrap()
        };
        let error = relative_error(&logits(&folder.path().join("m.gguf")), &logits(&folder.path().join("hf")));
        assert!(error < 1e-5, "{architecture:?}: {error}");
    }
}

#[test]
fn prefill_then_decode_is_prefill_alone() {
    for quant in [Quant::F32, Quant::F16, Quant::Bf16, Quant::Int8, Quant::Int4] {
        let shape = shape(Architecture::Qwen3);
        let folder = tempfile::tempdir().unwrap();
        write_folder(folder.path(), &shape, &tensors(&shape), DType::F32, 1);
        let mut decoder = load(&mut open(folder.path()), quant);
        let text = tokens(48, shape.vocab_size);
        decoder.allocate(1, 48, CacheType::F32).unwrap();
        let whole = decoder.forward(&row(&text), Logits::All).unwrap();
        decoder.reset();
        decoder.forward(&row(&text[..30]), Logits::Last).unwrap();
        for at in 30..48 {
            let step = decoder.forward(&row(&text[at..=at]), Logits::Last).unwrap();
            let error = relative_error(&step, &whole.narrow(1, at, 1).unwrap().squeeze(1).unwrap());
            // Some kernels for blocks round activations to 8 bits, in other groups where there are more rows.
            let tolerance = if quant <= Quant::F16 { TOLERANCE } else { 0.05 };
            assert!(error < tolerance, "{quant} at {at}: {error}");
        }
        assert!(decoder.forward(&row(&text[..1]), Logits::Last).unwrap_err().to_string().contains("cache of 48"));
    }
}

#[test]
fn a_batch_is_its_sequences() {
    let shape = shape(Architecture::Llama);
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), &shape, &tensors(&shape), DType::F32, 1);
    for quant in [Quant::F32, Quant::F16, Quant::Int8] {
        let mut decoder = load(&mut open(folder.path()), quant);
        let texts: Vec<Vec<u32>> =
            (0..5).map(|b| tokens(12, shape.vocab_size).iter().map(|t| (t + b * 13) % 131).collect()).collect();
        let batch = Tensor::from_vec(texts.concat(), (5, 12), &Device::Cpu).unwrap();
        decoder.allocate(5, 16, CacheType::F32).unwrap();
        decoder.forward(&batch.narrow(1, 0, 11).unwrap().contiguous().unwrap(), Logits::Last).unwrap();
        let together = decoder.forward(&batch.narrow(1, 11, 1).unwrap().contiguous().unwrap(), Logits::Last).unwrap();
        for (index, text) in texts.iter().enumerate() {
            decoder.allocate(1, 16, CacheType::F32).unwrap();
            decoder.forward(&row(&text[..11]), Logits::Last).unwrap();
            let alone = decoder.forward(&row(&text[11..]), Logits::Last).unwrap();
            let error = relative_error(&together.narrow(0, index, 1).unwrap(), &alone);
            // As above.
            let tolerance = if quant == Quant::Int8 { 0.05 } else { TOLERANCE };
            assert!(error < tolerance, "{quant} sequence {index}: {error}");
        }
    }
}

#[test]
fn a_sliding_window_hides_what_is_behind_it() {
    let shape = ModelShape { sliding_window: Some(8), layers: 1, ..shape(Architecture::Mistral) };
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), &shape, &tensors(&shape), DType::F32, 1);
    let mut model = open(folder.path());
    assert_eq!(model.shape.sliding_window, Some(8));
    let mut decoder = load(&mut model, Quant::F32);
    let mut last = |first: u32, changed: usize| {
        let mut text = tokens(30, shape.vocab_size);
        text[changed] = first;
        decoder.allocate(1, 30, CacheType::F32).unwrap();
        decoder.forward(&row(&text[..29]), Logits::Last).unwrap();
        decoder.forward(&row(&text[29..]), Logits::Last).unwrap()
    };
    // With one layer, the last position sees exactly the last eight.
    assert!(relative_error(&last(1, 21), &last(2, 21)) < 1e-6);
    assert!(relative_error(&last(1, 22), &last(2, 22)) > 1e-4);
}

#[test]
fn lower_precision_stays_close_and_says_what_it_stored() {
    let shape = shape(Architecture::Llama);
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), &shape, &tensors(&shape), DType::F32, 1);
    let mut model = open(folder.path());
    let mut logits = |quant| {
        let mut decoder = load(&mut model, quant);
        decoder.allocate(1, 20, CacheType::F32).unwrap();
        let logits = decoder.forward(&row(&tokens(20, shape.vocab_size)), Logits::All).unwrap();
        (logits, decoder.encodings.clone())
    };
    let (exact, _) = logits(Quant::F32);
    for (quant, tolerance) in [(Quant::F16, 0.005), (Quant::Bf16, 0.03), (Quant::Int8, 0.03), (Quant::Int4, 0.4)] {
        let (approximate, encodings) = logits(quant);
        let error = relative_error(&approximate, &exact);
        assert!(error > 0.0 && error < tolerance, "{quant}: {error}");
        assert_eq!(encodings.iter().map(|(_, count)| count).sum::<usize>(), 3 * 7 + 2);
        assert_eq!(encodings, shape.encodings(quant), "{quant}");
    }
}

/// Logits after a prompt, a second piece of it and single tokens, by `compute`.
fn logits(path: &Path, quant: Quant, compute: Compute) -> Vec<Tensor> {
    let mut model = open(path);
    let divisors = model.weights.rope_divisors().unwrap();
    let mut decoder =
        Decoder::load(&model.shape, model.weights.as_mut(), quant, divisors, compute, &mut |_, _| ()).unwrap();
    decoder.allocate(2, 40, CacheType::F32).unwrap();
    let text = [tokens(40, 120), tokens(40, 97)];
    let mut past = 0;
    [21, 29, 30, 31]
        .map(|end: usize| {
            let input: Vec<u32> = text.iter().flat_map(|row| row[past..end].to_vec()).collect();
            let input = Tensor::from_vec(input, (2, end - past), &Device::Cpu).unwrap();
            past = end;
            decoder.forward(&input, Logits::Last).unwrap().to_dtype(DType::F32).unwrap()
        })
        .to_vec()
}

#[test]
fn candles_own_kernels_give_the_same_logits() {
    use Architecture::*;
    for (architecture, window) in [(Llama, None), (Mistral, Some(9)), (Qwen2, None), (Qwen3, None)] {
        let shape = ModelShape { sliding_window: window, ..shape(architecture) };
        let folder = tempfile::tempdir().unwrap();
        write_folder(folder.path(), &shape, &tensors(&shape), DType::F32, 1);
        for (quant, tolerance) in [(Quant::F32, 1e-4), (Quant::F16, 2e-2), (Quant::Int8, 4e-2)] {
            let own = logits(folder.path(), quant, Compute::own());
            let candle = logits(folder.path(), quant, Compute::candle(&Device::Cpu, quant));
            for (own, candle) in own.iter().zip(&candle) {
                let error = relative_error(candle, own);
                assert!(error < tolerance, "{architecture:?} {quant}: {error}");
            }
        }
    }
}
