//! What the engine on a card does beside batches of one length: pieces of sequences that come and go, logits at any place,
//! embeddings and image classes; against the CPU, with the fake driver that runs the kernels.

// A program exports nothing.
#![allow(unreachable_pub)]

mod support;

use candle_core::{DType, Device, Tensor};
use sizewell::engine::backend::cuda::{CudaEngine, CudaModel};
use sizewell::engine::backend::ops::{Compute, Kernels};
use sizewell::engine::language::{HeldWeights, LanguageModel, SequencePosition};
use sizewell::engine::model::Decoder;
use sizewell::engine::scheduler::{BatchModel, Scheduler, Segment, SequenceEvent};
use sizewell::engine::session::encoder::EncoderEngine;
use sizewell::engine::weights::synthetic;
use sizewell::engine::weights::{self as source, OpenedModel};
use sizewell::engine::{Engine, EngineError};
use sizewell::workload::{Architecture, CacheType, Case, Input, ModelShape, Preset, Pruning, Quant};
use std::ops::ControlFlow;
use std::path::Path;
use support::fake_cuda::{REAL, card};
use support::{tensors, write_folder};

/// A folder with a model of one family, and its shape: a window in one, heads for the kernels of tensor cores in another.
fn model(architecture: Architecture) -> (tempfile::TempDir, ModelShape) {
    let shape = ModelShape { hidden_size: 128, intermediate_size: 256, layers: 2, ..support::shape(architecture) };
    let shape = match architecture {
        Architecture::Mistral => ModelShape { sliding_window: Some(6), ..shape },
        Architecture::Qwen3 => ModelShape { heads: 2, kv_heads: 1, head_dim: 64, ..shape },
        _ => shape,
    };
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path(), &shape, &tensors(&shape), DType::F32, 1);
    (folder, shape)
}

fn open(path: &Path) -> OpenedModel {
    source::open(path, 0, false).unwrap()
}

fn ids(count: usize, seed: usize) -> Vec<u32> {
    (0..count).map(|index| ((index * 37 + seed * 11) % 131) as u32).collect()
}

/// Size of the difference over the size of the second.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>().sqrt();
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
}

/// How much less the logit of a choice is than the largest: near zero where rounding decides between two.
fn behind(logits: &[f32], choice: u32) -> f32 {
    logits.iter().copied().fold(f32::NEG_INFINITY, f32::max) - logits[choice as usize]
}

const FAMILIES: [Architecture; 4] =
    [Architecture::Llama, Architecture::Mistral, Architecture::Qwen2, Architecture::Qwen3];

#[test]
fn pieces_of_sequences_in_one_pass_get_what_the_cpu_gives_them() {
    let Some((card, _one)) = card() else { return };
    for architecture in FAMILIES {
        let (folder, shape) = model(architecture);
        let mut cpu = open(folder.path());
        let weights = cpu.weights.as_mut();
        let mut cpu = Decoder::load(&shape, weights, Quant::F16, None, Compute::own(), &mut |_, _| ()).unwrap();
        cpu.allocate(3, 40, CacheType::F32).unwrap();
        let engine = CudaEngine::new(card.clone(), open(folder.path()));
        let (mut batch, is_fewer) = engine.batch_model(Quant::F16, 3, 40, 32).unwrap();
        assert_eq!((batch.slots(), batch.slot_tokens(), is_fewer), (3, 40, false));
        let prompts = [ids(21, 1), ids(9, 2), ids(14, 3)];
        let piece = |row: usize, past, tokens, sampled| Segment { row, past, tokens, sampled };
        let singles = [ids(1, 4), ids(1, 5), ids(1, 6)];
        // Rows of the cache in another order than in the pass; chunks of prompts beside what decodes, two of one length, a
        // chunk of one token, and a pass of nothing but the beginning of a prompt.
        let passes: Vec<Vec<Segment<'_>>> = vec![
            vec![piece(2, 0, &prompts[0][..13], false)],
            vec![piece(2, 13, &prompts[0][13..], true), piece(0, 0, &prompts[1][..8], false)],
            vec![
                piece(2, 21, &singles[0], true),
                piece(0, 8, &prompts[1][8..], true),
                piece(1, 0, &prompts[2][..7], false),
            ],
            vec![piece(2, 22, &singles[1], true), piece(0, 9, &singles[2], true), piece(1, 7, &prompts[2][7..], true)],
            vec![piece(1, 14, &singles[0], true), piece(2, 23, &singles[2], true), piece(0, 10, &singles[1], true)],
        ];
        for (number, segments) in passes.iter().enumerate() {
            let logits = cpu.forward_segments(segments).unwrap().to_vec2::<f32>().unwrap();
            let chosen = batch.pass(segments).unwrap();
            assert_eq!(chosen.len(), segments.iter().filter(|segment| segment.sampled).count());
            for (choice, logits) in chosen.iter().zip(&logits) {
                assert!(behind(logits, *choice) < 0.02, "{architecture:?} pass {number}: {}", behind(logits, *choice));
            }
        }
    }
}

#[test]
fn pieces_get_the_bits_that_a_batch_gets() {
    let Some((card, _one)) = card() else { return };
    for quant in [Quant::F16, Quant::Int8] {
        let (folder, shape) = model(Architecture::Qwen3);
        let load = || {
            let mut model = open(folder.path());
            CudaModel::load(card.clone(), &shape, model.weights.as_mut(), quant, None, &mut |_, _| ()).unwrap()
        };
        let mut uniform = load();
        uniform.allocate(2, 12, 5).unwrap();
        uniform.set_ids(&[ids(5, 1), ids(5, 2)].concat()).unwrap();
        let mut alike = load();
        alike.allocate(2, 12, 5).unwrap();
        let mut chosen: Vec<u32> = Vec::new();
        for step in 0..4 {
            uniform.step(if step == 0 { 5 } else { 1 }).unwrap();
            // Of prompts, the same places by other means: rows that are gathered need room for them.
            if step > 0 {
                let tokens: Vec<[u32; 1]> = chosen.iter().map(|token| [*token]).collect();
                let piece = |row: usize| Segment { row, past: 4 + step, tokens: &tokens[row], sampled: true };
                let passed = alike.pass(&[piece(0), piece(1)]).unwrap();
                assert_eq!(alike.logits().unwrap(), uniform.logits().unwrap(), "{quant} step {step}");
                assert_eq!(passed, uniform.ids().unwrap().download::<u32>(2).unwrap());
            } else {
                alike.set_ids(&[ids(5, 1), ids(5, 2)].concat()).unwrap();
                alike.step(5).unwrap();
            }
            chosen = uniform.ids().unwrap().download::<u32>(2).unwrap();
        }
    }
}

#[test]
fn sequences_that_come_and_go_get_the_tokens_that_they_get_alone() {
    let Some((card, _one)) = card() else { return };
    let (folder, _) = model(Architecture::Llama);
    let prompts: Vec<Vec<u32>> = [3, 17, 9, 1, 30].iter().map(|count| ids(*count, *count)).collect();
    let mut alone = CudaEngine::new(card.clone(), open(folder.path()));
    let mut alone = alone.language_model(Quant::F16, None).unwrap();
    let expected: Vec<Vec<u32>> =
        prompts.iter().map(|prompt| alone.generate(std::slice::from_ref(prompt), 6).unwrap().remove(0)).collect();
    drop(alone);
    let (batch, _) = CudaEngine::new(card, open(folder.path())).batch_model(Quant::F16, 3, 40, 16).unwrap();
    let scheduler = Scheduler::start(Box::new(batch), 16).unwrap();
    let told: Vec<_> = prompts.into_iter().map(|prompt| scheduler.submit(prompt, 6)).collect();
    for (mut told, expected) in told.into_iter().zip(expected) {
        let mut tokens = Vec::new();
        loop {
            match told.blocking_recv() {
                Some(SequenceEvent::Token(token)) => tokens.push(token),
                Some(SequenceEvent::Failed(why)) => panic!("{why}"),
                _ => break,
            }
        }
        assert_eq!(tokens, expected);
    }
}

#[test]
fn what_is_not_for_a_pass_is_an_error_and_the_engine_recovers() {
    let Some((card, _one)) = card() else { return };
    let (folder, _) = model(Architecture::Llama);
    let engine = || CudaEngine::new(card.clone(), open(folder.path()));
    let (mut batch, _) = engine().batch_model(Quant::F16, 2, 8, 8).unwrap();
    let pass = |tokens: &'static [u32], row, past| [Segment { row, past, tokens, sampled: true }];
    for wrong in [pass(&[1, 2, 3], 0, 6), pass(&[], 0, 0), pass(&[1], 2, 0), pass(&[131], 0, 0)] {
        assert!(batch.pass(&wrong).is_err(), "{wrong:?}");
    }
    assert_eq!(batch.pass(&pass(&[1, 2, 3], 1, 0)).unwrap().len(), 1);
    batch.recover().unwrap();
    assert_eq!(batch.pass(&pass(&[1, 2, 3], 0, 0)).unwrap().len(), 1);
    assert!(matches!(engine().batch_model(Quant::F16, 2, 300, 8), Err(EngineError::Unsupported(_))));
    assert!(matches!(engine().batch_model(Quant::F32, 2, 8, 8), Err(EngineError::Unsupported(_))));
}

#[test]
fn as_many_places_as_memory_allows() {
    let Some((card, _one)) = card() else { return };
    if std::env::var_os(REAL).is_some() {
        return;
    }
    let (folder, shape) = model(Architecture::Llama);
    let long = ModelShape { max_context: 1 << 22, ..shape };
    write_folder(folder.path(), &long, &tensors(&long), DType::F32, 1);
    let place = |tokens: usize| 2 * long.layers * long.kv_width() * tokens * 2;
    // The fake card has 256 MiB.
    let tokens = (40 << 20) / place(1);
    let (batch, is_fewer) =
        CudaEngine::new(card.clone(), open(folder.path())).batch_model(Quant::F16, 16, tokens, 8).unwrap();
    assert!(is_fewer && (3..=6).contains(&batch.slots()), "{}", batch.slots());
    drop(batch);
    let tokens = (300 << 20) / place(1);
    match CudaEngine::new(card, open(folder.path())).batch_model(Quant::F16, 16, tokens, 8) {
        Err(EngineError::DoesNotFit { needed, available }) => assert!(needed.0 > available.0),
        Ok(_) => panic!("it does not fit"),
        Err(other) => panic!("{other}"),
    };
}

#[test]
fn logits_of_any_place_and_mean_states_are_those_of_the_cpu() {
    let Some((card, _one)) = card() else { return };
    let levels = [(Quant::F16, 3e-3), (Quant::Bf16, 2e-2), (Quant::Int8, 6e-2)];
    for (architecture, (quant, tolerance)) in FAMILIES.into_iter().zip(levels.into_iter().cycle()) {
        let (folder, shape) = model(architecture);
        let mut engine = CudaEngine::new(card.clone(), open(folder.path()));
        let mut own = engine.language_model(quant, None).unwrap();
        let mut engine = sizewell::engine::session::candle::CandleEngine::new(open(folder.path()), Kernels::Own);
        let mut cpu = engine.language_model(quant, None, &[]).unwrap();
        let sequences = [ids(23, 1), ids(7, 2), ids(12, 3)];
        let place = |sequence, position| SequencePosition { sequence, position };
        let places = [place(1, 6), place(0, 0), place(2, 11), place(0, 22), place(0, 22), place(2, 3)];
        let logits = |model: &mut dyn LanguageModel| {
            let mut all = Vec::new();
            let mut firsts = Vec::new();
            let mut take = |first: usize, values: &[f32]| {
                firsts.push(first);
                all.extend_from_slice(values);
            };
            model.logits(&sequences, &places, &mut take).unwrap();
            assert_eq!((firsts[0], all.len()), (0, places.len() * shape.vocab_size));
            all
        };
        let (got, expected) = (logits(&mut own), logits(&mut cpu));
        for (at, (got, expected)) in got.chunks(shape.vocab_size).zip(expected.chunks(shape.vocab_size)).enumerate() {
            let off = difference(got, expected);
            assert!(off < tolerance, "{architecture:?} {quant} place {at}: {off}");
        }
        // They are not rounded to 16 bits: few of them have zeros behind the bits of a half.
        assert!(got.iter().filter(|value| value.to_bits() & 0x1fff != 0).count() > got.len() / 2);
        for (got, expected) in own.embed(&sequences).unwrap().iter().zip(cpu.embed(&sequences).unwrap()) {
            let off = difference(got, &expected);
            assert!(off < tolerance, "{architecture:?} {quant}: {off}");
        }
        assert_eq!(own.vocab_size(), cpu.vocab_size());
        let made = own.generate(&[ids(5, 1), ids(5, 2)], 3).unwrap();
        assert!(made.iter().all(|tokens| tokens.len() == 3) && made.len() == 2);
        let weights = |stored: Vec<(_, usize)>| stored.iter().map(|(_, count)| count).sum::<usize>();
        assert_eq!(weights(own.stored()), weights(HeldWeights::stored(&cpu)));
        assert!(own.matrix_bytes().0 > 0.0 && own.zeros() == 0);
    }
    let (folder, _) = model(Architecture::Llama);
    let pruning: Pruning = "magnitude:0.5".parse().unwrap();
    match CudaEngine::new(card, open(folder.path())).language_model(Quant::F16, Some(&pruning)) {
        Err(EngineError::Unsupported(why)) => assert!(why.contains("do not prune"), "{why}"),
        Ok(_) => panic!("it is not pruned"),
        Err(other) => panic!("{other}"),
    };
}

/// By its name, for everything that a card is asked for, and before a weight is read.
#[test]
fn what_the_kernels_lack_of_a_model_is_named() {
    let Some((card, _one)) = card() else { return };
    let shape = support::shape(Architecture::Gemma3);
    let engine = || CudaEngine::new(card.clone(), synthetic::open(&support::preset(shape.clone()), 7));
    let refused = |answer: Result<(), EngineError>| match answer {
        Err(EngineError::Unsupported(why)) => {
            assert!(why.contains("embeddings that are scaled") && why.contains("gemma3"), "{why}");
        }
        other => panic!("{other:?}"),
    };
    refused(engine().prepare(&Case::new(Quant::F16, 1, 4, 2)).map(|_| ()));
    refused(engine().language_model(Quant::F16, None).map(|_| ()));
    refused(engine().batch_model(Quant::F16, 1, 8, 4).map(|_| ()));
}

fn encoder(architecture: Architecture, head_dim: usize) -> Preset {
    let (hidden_size, max_context) = (4 * head_dim, if architecture == Architecture::Vit { 17 } else { 128 });
    let sizes = ModelShape { hidden_size, intermediate_size: 160, max_context, ..support::encoder_shape(architecture) };
    support::preset(ModelShape { heads: 4, kv_heads: 4, head_dim, ..sizes })
}

const ENCODER_LEVELS: [(Quant, f32); 4] =
    [(Quant::F16, 4e-3), (Quant::Bf16, 3e-2), (Quant::Int8, 6e-2), (Quant::Int4, 2e-1)];

#[test]
fn embeddings_of_texts_are_those_of_the_cpu() {
    let Some((card, _one)) = card() else { return };
    for head_dim in [24, 64] {
        let preset = encoder(Architecture::Bert, head_dim);
        let mut on_card = EncoderEngine::on_card(synthetic::open(&preset, 7), card.clone());
        let mut on_cpu = EncoderEngine::new(synthetic::open(&preset, 7), Kernels::Own);
        // Few rows and many, one token, several lengths, and more tokens than a tile of the kernels has.
        let texts = [ids(9, 1), ids(9, 2), ids(1, 3), ids(100, 4)];
        for (quant, tolerance) in ENCODER_LEVELS {
            let expected = on_cpu.embed(quant, &texts).unwrap();
            for (text, (got, expected)) in on_card.embed(quant, &texts).unwrap().iter().zip(&expected).enumerate() {
                let off = difference(got, expected);
                eprintln!("bert {head_dim} {quant} text {text}: {off}");
                assert!(off < tolerance, "{head_dim} {quant} text {text}: {off}");
            }
        }
        assert!(on_card.embed(Quant::F16, &[vec![131]]).is_err());
    }
}

#[test]
fn classes_of_images_are_those_of_the_cpu() {
    let Some((card, _one)) = card() else { return };
    for head_dim in [24, 64] {
        let preset = encoder(Architecture::Vit, head_dim);
        let mut on_card = EncoderEngine::on_card(synthetic::open(&preset, 7), card.clone());
        let mut on_cpu = EncoderEngine::new(synthetic::open(&preset, 7), Kernels::Own);
        for (quant, tolerance) in ENCODER_LEVELS {
            // The resolution of the table of positions, and another.
            for side in [32, 40] {
                let pixels: Vec<f32> = (0..2 * 3 * side * side).map(|i| (i * 31 % 97) as f32 / 48.0 - 1.0).collect();
                let pixels = Tensor::from_vec(pixels, (2, 3, side, side), &Device::Cpu).unwrap();
                let flat = |logits: Tensor| logits.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                let got = flat(on_card.classify(quant, &pixels).unwrap());
                let off = difference(&got, &flat(on_cpu.classify(quant, &pixels).unwrap()));
                eprintln!("vit {head_dim} {quant} {side}: {off}");
                assert!(off < tolerance, "{head_dim} {quant} {side}: {off}");
            }
        }
    }
}

#[test]
fn an_encoder_is_measured_on_a_card_as_on_the_cpu() {
    let Some((card, _one)) = card() else { return };
    for architecture in [Architecture::Bert, Architecture::Vit] {
        let mut engine = EncoderEngine::on_card(synthetic::open(&encoder(architecture, 24), 7), card.clone());
        let input = match architecture {
            Architecture::Vit => Input::Image { side: 32, tokens: 17 },
            _ => Input::Text { tokens: 17 },
        };
        let case = Case { input, ..Case::new(Quant::F16, 3, 0, 0) };
        let prepared = engine.prepare(&case).unwrap();
        assert!(prepared.loaded && prepared.weight_bytes.0 > 0.0 && prepared.cache_bytes.0 == 0.0);
        assert_eq!(prepared.remarks.len(), 1);
        let prompts = vec![ids(17, 1), ids(17, 2), ids(17, 3)];
        let mut steps = 0;
        let mut step = || {
            steps += 1;
            ControlFlow::Continue(())
        };
        let made = engine.iterate(&case, &prompts, &mut step).unwrap();
        assert!(made.finite && steps == 1 && made.tokens == vec![Vec::<u32>::new(); 3]);
        assert!(engine.peak_device_memory().unwrap().0 > 0.0 && engine.copy_time().unwrap().0 > 0.0);
        let refused = engine.prepare(&Case { quant: Quant::F32, ..case });
        assert!(matches!(refused, Err(EngineError::Unsupported(_))));
        if std::env::var_os(REAL).is_none() {
            let huge = engine.prepare(&Case { batch: 1 << 20, ..case });
            assert!(matches!(huge, Err(EngineError::DoesNotFit { .. })), "{huge:?}");
        }
    }
}

/// Cards of other generations: each in a process of its own, as the fake asks its settings once and again.
#[test]
fn cards_of_every_generation_do_so() {
    if std::env::var_os(REAL).is_some() || support::fake_cuda::library().is_none() {
        return;
    }
    let tests = [
        "pieces_of_sequences_in_one_pass_get_what_the_cpu_gives_them",
        "logits_of_any_place_and_mean_states_are_those_of_the_cpu",
        "embeddings_of_texts_are_those_of_the_cpu",
        "classes_of_images_are_those_of_the_cpu",
    ];
    for generation in ["75", "80", "90"] {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let output = command.arg("--exact").args(tests).env("FAKE_CUDA_SM", generation).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("4 passed"), "{generation}: {said}");
    }
}
