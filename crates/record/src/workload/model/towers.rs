//! Encoders that are held with a model: what is between them and the residual stream, as the families of encoders have it.

use super::family::Architecture;
use super::parts::{Parts, Tower};
use super::shape::ModelShape;

/// The encoder of images before a model of text whose residual stream is `hidden` wide.
pub fn before(vision: &ModelShape, hidden: usize) -> Tower {
    Tower { parts: tower_parts(vision), projector: projector(vision, hidden as f64) }
}

/// Without what only makes an embedding of it.
fn tower_parts(vision: &ModelShape) -> Parts {
    ModelShape { projection: None, ..vision.clone() }.parts()
}

/// Patches of a square that Qwen's, Mistral's and Llama's merge into one token.
const MERGED: f64 = 4.0;

/// Numbers between an encoder `v` wide and a model `h` wide.
fn projector(vision: &ModelShape, h: f64) -> f64 {
    let v = vision.hidden_size as f64;
    match vision.architecture {
        // Gemma 3: a norm and a matrix behind a mean over patches.
        Architecture::Siglip => v + v * h,
        // Gemma 4: a matrix.
        Architecture::Gemma4Vision => v * h,
        // Mistral Small 3.1: a norm, a merging matrix, and two more.
        Architecture::Pixtral => v + MERGED * v * v + v * h + h * h,
        // Llama 4: two matrices within the encoder, and one behind.
        Architecture::Llama4Vision => {
            let inner = vision.projection.map_or(0.0, |width| width as f64);
            MERGED * v * inner + inner * inner + inner * h
        }
        // A norm, and two matrices with biases.
        Architecture::Qwen25Vision => v + MERGED * v * (MERGED * v + 1.0) + h * (MERGED * v + 1.0),
        Architecture::Qwen3Vision => {
            let merger = MERGED * v * (MERGED * v + 1.0) + h * (MERGED * v + 1.0);
            // Those behind some of its blocks norm what is merged already, the last what is not.
            let further = vision.deepstack as f64;
            2.0 * v + merger + further * (2.0 * MERGED * v + merger)
        }
        _ => 0.0,
    }
}
