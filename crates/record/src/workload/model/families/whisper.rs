//! Whisper: an encoder of thirty seconds of speech, and a decoder that looks at what it has made (arXiv 2212.04356). It is
//! sized, not run.

use super::bert;
use crate::workload::model::config::keys::Keys;
use crate::workload::model::family::{Architecture, Config, Family, Task};
use crate::workload::model::parts::{
    Attention, AttentionMask, AudioEmbedding, BlockParts, CrossAttention, Embedding, FeedForward, Head,
    LearnedEmbeddings, Mixer, NormKind, NormPlace, Parts, QkvBias, Tower,
};
use crate::workload::model::shape::ModelShape;
use crate::workload::model::sublayers::AudioShape;
use serde_json::Value;

pub(super) const FAMILY: Family = Family {
    name: "whisper",
    model_types: &["whisper"],
    task: Task::Transcribe,
    config: Config::Encoder(config),
    parts,
    ..super::SIZED_ENCODER
};

fn config(keys: &Keys<'_>) -> Result<ModelShape, String> {
    let (hidden_size, heads) = (keys.size("d_model", None)?, keys.size("decoder_attention_heads", None)?);
    let head_dim = hidden_size.checked_div(heads).ok_or("`decoder_attention_heads` is 0")?;
    if !hidden_size.is_multiple_of(heads) {
        return Err(format!("the width {hidden_size} is not a multiple of `decoder_attention_heads` {heads}"));
    }
    let audio_heads = keys.size("encoder_attention_heads", None)?;
    if audio_heads == 0 || !hidden_size.is_multiple_of(audio_heads) {
        return Err(format!("the width {hidden_size} is not a multiple of `encoder_attention_heads` {audio_heads}"));
    }
    let names = keys.get("architectures").and_then(Value::as_array);
    if let Some(name) = names.and_then(|names| names.first()).and_then(Value::as_str)
        && !name.ends_with("ForConditionalGeneration")
    {
        return Err(format!("`architectures` {name} is not described; WhisperForConditionalGeneration is"));
    }
    Ok(ModelShape {
        hidden_size,
        intermediate_size: keys.size("decoder_ffn_dim", None)?,
        layers: keys.size("decoder_layers", None)?,
        heads,
        kv_heads: heads,
        head_dim,
        vocab_size: keys.size("vocab_size", None)?,
        max_context: keys.size("max_target_positions", Some(448))?,
        norm_eps: 1e-5,
        tied_embeddings: true,
        qkv_bias: true,
        audio: Some(AudioShape {
            layers: keys.size("encoder_layers", None)?,
            heads: audio_heads,
            width: keys.size("encoder_ffn_dim", None)?,
            bands: keys.size("num_mel_bins", Some(80))?,
            positions: keys.size("max_source_positions", Some(1500))?,
        }),
        ..ModelShape::of(Architecture::Whisper)
    })
}

fn parts(shape: &ModelShape) -> Parts {
    let block = bert::block(shape, NormPlace::Before)
        .with_attention(|attention| Attention { qkv_bias: QkvBias::NotKey, ..attention });
    let before = AttentionMask::Before { window: None };
    let decoder = block.with_attention(|attention| Attention { mask: before, ..attention });
    // A shape without its encoder is refused before it gets here.
    let audio = shape.audio.unwrap_or(AudioShape { layers: 1, heads: 1, width: 1, bands: 1, positions: 1 });
    let cross = block.attention().map(|attention| CrossAttention { attention: *attention, positions: audio.positions });
    let learned = Some(LearnedEmbeddings { positions: shape.max_context, types: 0, norm: false });
    Parts {
        hidden: shape.hidden_size,
        norm: NormKind::Layer,
        embedding: Embedding::Tokens { vocabulary: shape.vocab_size, scale: None, learned },
        convolutions: Vec::new(),
        blocks: vec![(BlockParts { cross, ..decoder }, shape.layers)],
        final_norm: true,
        head: Head::TiedTokens,
        beside: 0.0,
        towers: vec![Tower { parts: encoder(shape, &audio, block), projector: 0.0 }],
    }
}

/// The encoder of speech.
fn encoder(shape: &ModelShape, audio: &AudioShape, block: BlockParts) -> Parts {
    let head_dim = shape.hidden_size / audio.heads.max(1);
    let of_audio = |attention: Attention| Attention { heads: audio.heads, kv_heads: audio.heads, head_dim, ..attention };
    let mixer = block.attention().map(|attention| Mixer::Attention(of_audio(*attention)));
    let feed_forward = block.feed_forward.map(|part| FeedForward { width: audio.width, ..part });
    Parts {
        hidden: shape.hidden_size,
        norm: NormKind::Layer,
        embedding: Embedding::Audio(AudioEmbedding { bands: audio.bands, positions: audio.positions }),
        convolutions: Vec::new(),
        blocks: vec![(BlockParts { mixer, feed_forward, ..block }, audio.layers)],
        final_norm: true,
        head: Head::Pooled,
        beside: 0.0,
        towers: Vec::new(),
    }
}
