//! Prefill, then one token after the other.

use super::candle::failed;
use crate::engine::backend::greedy::greedy;
use crate::engine::backend::ops;
use crate::engine::model::{Decoder, Logits};
use crate::engine::{EngineError, Generated};
use candle_core::{DType, Device, Tensor};
use std::ops::ControlFlow;

/// Prefills `prompts` and decodes greedily until each sequence has `gen_tokens` tokens.
pub(super) fn generate(
    decoder: &mut Decoder,
    device: &Device,
    prompts: &[Vec<u32>],
    gen_tokens: usize,
    step: &mut (dyn FnMut() -> ControlFlow<()> + Send),
) -> Result<Generated, EngineError> {
    let batch = prompts.len();
    let flat: Vec<u32> = prompts.concat();
    let shape = (batch, flat.len() / batch.max(1));
    let mut tokens = vec![Vec::with_capacity(gen_tokens); batch];
    let mut finite = true;
    let mut input = Tensor::from_vec(flat, shape, device).map_err(failed)?;
    // Of all tokens; it is looked at once, in the end.
    let mut doubt: Option<Tensor> = None;
    for _ in 0..gen_tokens {
        let logits = decoder.forward(&input, Logits::Last).map_err(failed)?;
        let picked = match device {
            Device::Cpu if logits.dtype() == DType::F32 => {
                let picked = greedy(&logits).map_err(failed)?;
                finite &= picked.finite;
                input = Tensor::from_slice(&picked.tokens, (batch, 1), device).map_err(failed)?;
                picked.tokens
            }
            // The token stays where the next step needs it, and a copy of it comes to the host.
            _ => {
                let (next, here) = ops::pick(&logits).map_err(failed)?;
                doubt = Some(match doubt {
                    Some(before) => (before + here).map_err(failed)?,
                    None => here,
                });
                input = next;
                input.flatten_all().and_then(|ids| ids.to_vec1::<u32>()).map_err(failed)?
            }
        };
        for (sequence, token) in tokens.iter_mut().zip(&picked) {
            sequence.push(*token);
        }
        if step().is_break() {
            return Err(EngineError::Stopped);
        }
    }
    if let Some(doubt) = doubt {
        finite &= doubt.to_scalar::<f32>().map_err(failed)? == 0.0;
    }
    Ok(Generated { tokens, finite })
}
