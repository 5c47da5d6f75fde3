//! Which tensors a model is made of, held against which its files have: one that is missing is known before the first case,
//! and one that nothing would use is an error, as the network without it is another one.

use crate::workload::ModelShape;
use crate::workload::model::config::keys::quantized_already;
use crate::workload::model::tensors::TensorName;
use std::collections::{BTreeMap, BTreeSet};

/// A tensor that a model needs, by its name in the files, and its dimensions where they are to be checked here.
pub(in crate::engine) type RequiredTensor = (String, Option<Vec<usize>>);

/// What a model needs, with the names that `name` gives.
pub(super) fn needed(shape: &ModelShape, name: &dyn Fn(TensorName) -> String) -> Vec<RequiredTensor> {
    shape.tensors().into_iter().map(|spec| (name(spec.name), Some(spec.dims))).collect()
}

/// Tensors that the files of decoders have beside a network that is whole without them. Here and below, each is what a name
/// ends with, or, before a `*`, what it begins with. (Frequencies of old checkpoints, and biases of zeros, pass where their
/// values change nothing; the divisors of `rope_freqs.weight` are used.)
pub(super) const BESIDE_DECODERS: &[&str] = &[".attn_rot_embd.weight"];

/// The same beside encoders: a table of positions that is made anew, and what stands behind the hidden states, the heads that
/// they were trained with.
pub(in crate::engine) const BESIDE_ENCODERS: &[&str] =
    &["embeddings.position_ids", "cls.*", "pooler.*", "bert.pooler.*", "vit.pooler.*"];

fn is_beside(name: &str, patterns: &[&str]) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name.ends_with(pattern),
    })
}

/// What tensors of weights that another tool has quantized are called by.
const QUANTIZED: [&str; 9] = [
    ".qweight",
    ".qzeros",
    ".g_idx",
    ".weight_scale",
    ".weight_scale_inv",
    ".weight_packed",
    ".absmax",
    ".quant_map",
    ".input_scale",
];

/// Holds `found`, the names and dimensions of the tensors of the files, against `needed` and what may stand `beside` it. `changes_nothing` is asked of a
/// tensor that no part of the model would use, whether its values make no difference. The error names the tensor.
pub(in crate::engine) fn check(
    needed: &[RequiredTensor],
    found: &BTreeMap<&str, &[usize]>,
    beside: &[&str],
    changes_nothing: &mut dyn FnMut(&str) -> bool,
) -> Result<(), String> {
    for (name, dims) in needed {
        if let (Some(dims), Some(has)) = (dims, found.get(name.as_str()))
            && has != dims
        {
            return Err(format!("tensor `{name}` has the shape {has:?}, but the model needs {dims:?}"));
        }
    }
    let used: BTreeSet<&str> = needed.iter().map(|(name, _)| name.as_str()).collect();
    let others = found.keys().copied().filter(|name| !used.contains(name) && !is_beside(name, beside));
    let unused: Vec<&str> = others.filter(|name| !changes_nothing(name)).collect();
    let missing: Vec<&str> =
        needed.iter().map(|(name, _)| name.as_str()).filter(|name| !found.contains_key(name)).collect();
    if let Some(name) = unused.iter().find(|name| QUANTIZED.iter().any(|end| name.ends_with(end))) {
        return Err(quantized_already(&format!("tensor `{name}`")));
    }
    let unused = unused.first().map(|name| match unused.len() - 1 {
        0 => format!("tensor `{name}` is not used"),
        others => format!("tensor `{name}` and {others} more are not used"),
    });
    let missing = missing.first().map(|name| match missing.len() - 1 {
        0 => format!("tensor `{name}` is missing"),
        others => format!("tensor `{name}` is missing, as are {others} more"),
    });
    match (missing, unused) {
        (None, None) => Ok(()),
        (Some(missing), None) => Err(missing),
        (Some(missing), Some(unused)) => Err(format!("{missing}; {unused}")),
        (None, Some(unused)) => Err(format!("{unused}: the engine would run another network than the file has")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(needed: &[&str], found: &[&str]) -> Result<(), String> {
        let needed: Vec<RequiredTensor> = needed.iter().map(|name| (name.to_string(), Some(vec![4]))).collect();
        let found = found.iter().map(|name| (*name, [4].as_slice())).collect();
        check(&needed, &found, BESIDE_ENCODERS, &mut |name| name == "zero.bias")
    }

    #[test]
    fn what_is_missing_or_not_used_is_named() {
        assert_eq!(held(&["a", "b"], &["a", "b", "zero.bias", "model.embeddings.position_ids", "cls.x"]), Ok(()));
        assert_eq!(held(&["a", "b"], &["a"]), Err("tensor `b` is missing".to_string()));
        let message = held(&["a"], &["a", "o.bias", "p.bias", "q.bias"]).unwrap_err();
        assert!(message.starts_with("tensor `o.bias` and 2 more are not used"), "{message}");
        let message = held(&["a.weight"], &["a.weight.copy"]).unwrap_err();
        assert!(
            message.contains("`a.weight` is missing") && message.contains("`a.weight.copy` is not used"),
            "{message}"
        );
        let message = held(&["q.weight"], &["q.qweight", "q.scales"]).unwrap_err();
        assert!(message.contains("quantized already (tensor `q.qweight`)"), "{message}");
        let found = BTreeMap::from([("a", [5].as_slice())]);
        let message = check(&[("a".to_string(), Some(vec![4]))], &found, BESIDE_DECODERS, &mut |_| false).unwrap_err();
        assert_eq!(message, "tensor `a` has the shape [5], but the model needs [4]");
    }
}
