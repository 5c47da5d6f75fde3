//! Makes models/reference: text of the chronicle, a tokenizer for it, and a small Llama that is trained on it.
//!
//! `cargo run --release --example train-reference` takes under an hour on two cores, and says in the end how far the
//! model is from the entropy of the source. The same seed gives the same text, tokenizer and order of windows; sums of
//! floats depend on the number of threads.

// A program exports nothing.
#![allow(unreachable_pub)]

mod data;
mod model;
mod tokenizer;

use anyhow::{Context, Result, anyhow};
use candle_core::{Device, Tensor};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use half::f16;
use model::Model;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use sizewell::workload::chronicle;
use std::path::Path;
use std::time::Instant;
use tokenizers::Tokenizer;

const SEED: u64 = 20_261_125;
/// Tokens of a training window, and of the longest sequence that the model is made for.
const WINDOW: usize = 128;
const CONTEXT: usize = 512;
/// The last steps see whole contexts, so that no position is new to the model.
const LONG_SHARE: f64 = 0.1;
/// Of the windows before, this share begins where an entry does, so that nothing in them is beyond knowing.
const WHOLE_SHARE: f64 = 0.75;
const TOKENS_PER_STEP: usize = 2048;
const STEPS: usize = 3000;
const PEAK_RATE: f64 = 3e-3;
/// Bytes of text to train on: more than all steps see.
const TEXT: usize = 40 << 20;

fn main() -> Result<()> {
    let steps = match std::env::args().nth(1) {
        Some(steps) => steps.parse().context("the argument is a number of steps")?,
        None => STEPS,
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/reference");
    std::fs::create_dir_all(&folder)?;
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(SEED);
    let text = chronicle::text(TEXT, &mut rng);
    let tokenizer = tokenizer::train(&text[..2 << 20])?;
    tokenizer.save(folder.join("tokenizer.json"), true).map_err(|e| anyhow!("{e}"))?;
    let ids = encode(&tokenizer, &text)?;
    let exact = chronicle::entropy(&mut |piece| encode(&tokenizer, piece).map_or(f64::NAN, |ids| ids.len() as f64));
    println!("{} tokens; the source has {:.5} nats a token ({exact:?})", ids.len(), exact.rate());
    data::write(&folder)?;

    let vocab = tokenizer.get_vocab_size(true);
    let model = Model::new(vocab, CONTEXT, &mut rng)?;
    let parameters: usize = model.weights.values().map(|var| var.elem_count()).sum();
    println!("{parameters} parameters, {steps} steps");
    let line_end = *encode(&tokenizer, "\n")?.first().context("a line has no end")?;
    train(&model, &ids, (bos(&tokenizer)?, line_end), steps, &mut rng)?;
    save(&model, &folder, vocab)?;
    let held_out = encode(&tokenizer, &data::held_out_text())?;
    let loss = held_out_loss(&model, &held_out, bos(&tokenizer)?)?;
    println!("held out: {loss:.5} nats a token, {:+.2} % of the source's", (loss / exact.rate() - 1.0) * 100.0);
    Ok(())
}

fn bos(tokenizer: &Tokenizer) -> Result<u32> {
    tokenizer.token_to_id(tokenizer::BOS).context("no BOS")
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let all: Vec<tokenizers::Encoding> = tokenizer.encode_batch_fast(lines, false).map_err(|e| anyhow!("{e}"))?;
    Ok(all.iter().flat_map(|line| line.get_ids().iter().copied()).collect())
}

/// Windows of `length` tokens, each begun with BOS, and what follows each token.
fn windows(ids: &[u32], bos: u32, starts: &[usize], length: usize) -> Result<(Tensor, Tensor)> {
    let (mut inputs, mut targets): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
    for start in starts {
        inputs.push(bos);
        inputs.extend(&ids[*start..start + length - 1]);
        targets.extend(&ids[*start..start + length]);
    }
    let shape = (starts.len(), length);
    Ok((Tensor::from_vec(inputs, shape, &Device::Cpu)?, Tensor::from_vec(targets, shape, &Device::Cpu)?))
}

fn train(model: &Model, ids: &[u32], (bos, line_end): (u32, u32), steps: usize, rng: &mut impl Rng) -> Result<()> {
    let vars = model.weights.values().cloned().collect();
    let params = ParamsAdamW { lr: PEAK_RATE, beta2: 0.98, weight_decay: 0.01, ..Default::default() };
    let mut optimizer = AdamW::new(vars, params)?;
    let began = Instant::now();
    let warm_up = 60.0;
    for step in 0..steps {
        let done = step as f64 / steps as f64;
        let length = if done < 1.0 - LONG_SHARE { WINDOW } else { CONTEXT };
        let starts: Vec<usize> = (0..TOKENS_PER_STEP / length)
            .map(|_| {
                let start = rng.random_range(0..ids.len() - 2 * CONTEXT);
                let ends = ids[start..]
                    .iter()
                    .take(CONTEXT)
                    .position(|id| *id == line_end)
                    .filter(|_| rng.random::<f64>() < WHOLE_SHARE);
                ends.map_or(start, |at| start + at + 1)
            })
            .collect();
        let (inputs, targets) = windows(ids, bos, &starts, length)?;
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
        optimizer.set_learning_rate(PEAK_RATE * (0.01 + 0.99 * cosine) * ((step + 1) as f64 / warm_up).min(1.0));
        let loss = model.loss(&inputs, &targets)?;
        let mut gradients = loss.backward()?;
        clip(&mut gradients, model)?;
        optimizer.step(&gradients)?;
        if step % 20 == 0 || step + 1 == steps {
            println!("step {step}: {:.4} after {:.0} s", loss.to_scalar::<f32>()?, began.elapsed().as_secs_f64());
        }
    }
    Ok(())
}

/// Scales the gradient to a norm of 1 where it is longer.
fn clip(gradients: &mut candle_core::backprop::GradStore, model: &Model) -> Result<()> {
    let mut squares = 0.0;
    for var in model.weights.values() {
        if let Some(gradient) = gradients.get(var) {
            squares += gradient.sqr()?.sum_all()?.to_scalar::<f32>()? as f64;
        }
    }
    let norm = squares.sqrt();
    if norm > 1.0 {
        for var in model.weights.values() {
            if let Some(gradient) = gradients.remove(var) {
                gradients.insert(var, (gradient * (1.0 / norm))?);
            }
        }
    }
    Ok(())
}

/// The loss over windows of the whole context that follow each other, the first half of each left out.
fn held_out_loss(model: &Model, ids: &[u32], bos: u32) -> Result<f64> {
    let (mut sum, mut count) = (0.0, 0);
    for start in (0..ids.len().saturating_sub(CONTEXT)).step_by(CONTEXT) {
        let (inputs, targets) = windows(ids, bos, &[start], CONTEXT)?;
        let half = CONTEXT / 2;
        sum += model.loss_from(&inputs, &targets, half)? * (CONTEXT - half) as f64;
        count += CONTEXT - half;
    }
    Ok(sum / count as f64)
}

/// The weights as f16 safetensors, and config.json.
fn save(model: &Model, folder: &Path, vocab: usize) -> Result<()> {
    let mut tensors = Vec::new();
    for (name, var) in &model.weights {
        let values = var.as_tensor().flatten_all()?.to_vec1::<f32>()?;
        let bytes: Vec<u8> = values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect();
        tensors.push((name.clone(), var.dims().to_vec(), bytes));
    }
    let views: Vec<(String, TensorView)> = tensors
        .iter()
        .map(|(name, dims, bytes)| Ok((name.clone(), TensorView::new(Dtype::F16, dims.clone(), bytes)?)))
        .collect::<Result<_>>()?;
    safetensors::serialize_to_file(views, None, &folder.join("model.safetensors"))?;
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": model::HIDDEN,
        "intermediate_size": model::INTERMEDIATE,
        "num_hidden_layers": model::LAYERS,
        "num_attention_heads": model::HEADS,
        "num_key_value_heads": model::KV_HEADS,
        "head_dim": model::HEAD_DIM,
        "vocab_size": vocab,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": model::NORM_EPS,
        "rope_theta": model::ROPE_THETA,
        "tie_word_embeddings": true,
        "torch_dtype": "float16",
        "bos_token_id": 0,
        "eos_token_id": 1,
    });
    std::fs::write(folder.join("config.json"), serde_json::to_string_pretty(&config)? + "\n")?;
    Ok(())
}
