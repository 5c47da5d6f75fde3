//! The public measurements that the program carries, to project from where nothing better was loaded: medians of llama.cpp
//! and vLLM on cloud GPUs. They are under the terms of their collection; see evidence/README.md.

use super::{Overrides, Source, read_source};
use crate::record::Run;
use std::sync::OnceLock;

/// The measurements as runs of basis `imported`.
pub fn bundled() -> &'static [Run] {
    static RUNS: OnceLock<Vec<Run>> = OnceLock::new();
    RUNS.get_or_init(|| {
        let files = [
            ("llama-cpp.csv", include_str!("../../../../evidence/llama-cpp.csv")),
            ("vllm.csv", include_str!("../../../../evidence/vllm.csv")),
        ];
        let overrides = Overrides::default();
        let runs = files
            .into_iter()
            .filter_map(|(name, text)| read_source(&Source::embedded(name, text), None, &overrides).ok());
        runs.flat_map(|(runs, _)| runs).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_carried_can_be_read() {
        let runs = bundled();
        let engines: std::collections::BTreeSet<&str> =
            runs.iter().map(|run| run.record.engine.name.as_str()).collect();
        assert_eq!(engines.into_iter().collect::<Vec<_>>(), ["llama.cpp", "vllm"]);
        assert!(runs.iter().all(|run| run.record.model.is_some()), "every model has a shape");
        let cards: std::collections::BTreeSet<_> = runs.iter().map(|run| &run.record.engine.hardware).collect();
        assert!(cards.len() >= 12, "{cards:?}");
    }
}
