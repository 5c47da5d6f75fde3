//! Windows of attention as a config.json has them: `sliding_window`, and which layers it is of.

use super::keys::Keys;
use crate::workload::ModelShape;
use crate::workload::model::family::WindowRule;
use serde_json::Value;

/// Layers that attend to everything, where a config switches windows on and does not say from which layer.
const MOST_FULL_LAYERS: usize = 28;

/// How far attention of every layer reaches back; `None` where that is everywhere the context does. The engine has one
/// window for all layers: where some have it and others not, the error names the key that says so.
pub(super) fn window(keys: &Keys<'_>, shape: &ModelShape, rule: WindowRule) -> Result<Option<usize>, String> {
    let asked = keys.optional_size("sliding_window")?;
    let used = keys.optional_flag("use_sliding_window")?;
    let named = layer_types(keys, shape.layers)?;
    // A window that holds the whole context is none, whichever layers have it.
    let Some(size) = asked.filter(|size| *size < shape.max_context) else {
        return if named.is_some_and(|slides| slides.contains(&true)) && asked.is_none() {
            Err("`layer_types` names sliding_attention, but `sliding_window` is missing".to_string())
        } else {
            Ok(None)
        };
    };
    let (is_switched, is_of_all) = (rule == WindowRule::Switched, rule == WindowRule::All);
    let (slides, key) = match (named, used) {
        (None, Some(false) | None) if is_switched => return Ok(None),
        (None, Some(true)) if is_switched => {
            let full = keys.size("max_window_layers", Some(MOST_FULL_LAYERS))?;
            ((0..shape.layers).map(|layer| layer >= full).collect(), "max_window_layers")
        }
        (None, Some(false)) if !is_of_all => return Ok(None),
        (None, None) if is_of_all => (vec![true; shape.layers], "sliding_window"),
        (None, said) => {
            let said = said.map_or("not given".to_string(), |used| used.to_string());
            return Err(format!(
                "`sliding_window` is {size} and `use_sliding_window` {said}: tools differ on whether a model of `{}` has such \
                 a window; remove the key that is wrong",
                shape.architecture
            ));
        }
        (Some(slides), used) => {
            let expected = match rule {
                WindowRule::All => true,
                WindowRule::Switched => used.unwrap_or(false),
                WindowRule::Never | WindowRule::Pattern => false,
            };
            if slides.contains(&true) != expected {
                return Err(format!(
                    "`layer_types` and `sliding_window` ({size}) contradict each other in a model of `{}`",
                    shape.architecture
                ));
            }
            (slides, "layer_types")
        }
    };
    match (slides.contains(&true), slides.contains(&false)) {
        (false, _) => Ok(None),
        (true, false) => uniform(keys, size),
        (true, true) => Err(format!(
            "`{key}`: some layers attend to {size} positions and others to all, which is not supported; all or none can"
        )),
    }
}

/// A window of all layers, unless a pattern says that it is of some.
fn uniform(keys: &Keys<'_>, size: usize) -> Result<Option<usize>, String> {
    match keys.get("sliding_window_pattern") {
        None => Ok(Some(size)),
        Some(pattern) => Err(format!(
            "`sliding_window_pattern` {pattern} is not supported: a window of attention is of all layers or of none"
        )),
    }
}

/// Which layers attend to a window, where the file lists them.
fn layer_types(keys: &Keys<'_>, layers: usize) -> Result<Option<Vec<bool>>, String> {
    let Some(value) = keys.get("layer_types") else { return Ok(None) };
    let kinds = value.as_array().ok_or(format!("`layer_types` is {value}, not a list"))?;
    if kinds.len() != layers {
        return Err(format!("`layer_types` names {} layers, but `num_hidden_layers` is {layers}", kinds.len()));
    }
    let slides = |kind: &Value| match kind.as_str() {
        Some("full_attention") => Ok(false),
        Some("sliding_attention") => Ok(true),
        _ => Err(format!("`layer_types`: {kind} is not supported; full_attention and sliding_attention are")),
    };
    kinds.iter().map(slides).collect::<Result<Vec<bool>, String>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::super::parse;

    /// A config of two layers and 4,096 positions, with further keys.
    fn read(model_type: &str, more: &str) -> Result<Option<usize>, String> {
        let text = format!(
            r#"{{"model_type":"{model_type}","hidden_size":64,"intermediate_size":128,"num_hidden_layers":2,
            "num_attention_heads":4,"num_key_value_heads":2,"vocab_size":128,"head_dim":16,
            "max_position_embeddings":4096{more}}}"#
        );
        parse(&text).map(|shape| shape.sliding_window)
    }

    const MIXED: &str = r#","layer_types":["full_attention","sliding_attention"]"#;
    const SLIDING: &str = r#","layer_types":["sliding_attention","sliding_attention"]"#;
    const FULL: &str = r#","layer_types":["full_attention","full_attention"]"#;

    #[test]
    fn a_window_is_used_where_all_layers_have_it() {
        for (model_type, more, window) in [
            ("mistral", r#","sliding_window":8"#, Some(8)),
            ("mistral", r#","sliding_window":null"#, None),
            ("mistral", r#","sliding_window":4096"#, None),
            ("mistral", &format!(r#","sliding_window":8{SLIDING}"#), Some(8)),
            ("qwen2", r#","sliding_window":8,"use_sliding_window":false,"max_window_layers":0"#, None),
            ("qwen2", r#","sliding_window":8"#, None),
            ("qwen2", r#","sliding_window":8,"use_sliding_window":true,"max_window_layers":0"#, Some(8)),
            // The first `max_window_layers` layers attend to everything: here all.
            ("qwen2", r#","sliding_window":8,"use_sliding_window":true,"max_window_layers":2"#, None),
            ("qwen2", r#","sliding_window":8,"use_sliding_window":true"#, None),
            ("qwen2", r#","sliding_window":9000,"use_sliding_window":true,"max_window_layers":1"#, None),
            ("qwen3", &format!(r#","sliding_window":8,"use_sliding_window":true{SLIDING}"#), Some(8)),
            ("qwen3", &format!(r#","sliding_window":null{FULL}"#), None),
            ("llama", &format!(r#","sliding_window":null{FULL}"#), None),
            ("llama", r#","sliding_window":8,"use_sliding_window":false"#, None),
        ] {
            assert_eq!(read(model_type, more), Ok(window), "{model_type}{more}");
        }
    }

    #[test]
    fn layers_that_differ_are_refused_by_the_key() {
        for (model_type, more, words) in [
            ("qwen2", r#","sliding_window":8,"use_sliding_window":true,"max_window_layers":1"#, "`max_window_layers`"),
            ("qwen3", &format!(r#","sliding_window":8,"use_sliding_window":true{MIXED}"#), "`layer_types`"),
            ("mistral", &format!(r#","sliding_window":8{MIXED}"#), "`layer_types`"),
            ("mistral", &format!(r#","sliding_window":8{FULL}"#), "contradict"),
            ("mistral", r#","sliding_window":8,"use_sliding_window":false"#, "`use_sliding_window`"),
            ("llama", r#","sliding_window":8"#, "`sliding_window` is 8"),
            ("llama", &format!(r#","sliding_window":8,"use_sliding_window":true{MIXED}"#), "`layer_types`"),
            ("llama", MIXED, "`sliding_window` is missing"),
            ("llama", r#","layer_types":["full_attention"]"#, "names 1 layers"),
            ("qwen3", r#","layer_types":["full_attention","linear_attention"]"#, "linear_attention"),
            ("mistral", r#","sliding_window":8,"sliding_window_pattern":6"#, "`sliding_window_pattern`"),
        ] {
            let message = read(model_type, more).unwrap_err();
            assert!(message.contains(words), "{model_type}{more}: {message}");
        }
    }
}
