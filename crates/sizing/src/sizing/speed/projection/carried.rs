//! The laws of the measurements that the program carries, fitted once for each catalog.

use super::laws::Laws;
use super::observation::observations;
use crate::catalog::Catalog;
use crate::evidence::bundled;
use crate::record::Run;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

/// Laws of these runs together with those that the program carries. CPU runs say nothing of cards and change nothing.
pub fn laws(runs: &[&Run], catalog: &Catalog) -> Arc<Laws> {
    let on_cards: Vec<&Run> = runs.iter().filter(|run| run.record.engine.device != "cpu").copied().collect();
    if on_cards.is_empty() {
        return carried(catalog);
    }
    let all: Vec<&Run> = bundled().iter().chain(on_cards).collect();
    Arc::new(Laws::fit(&observations(&all, catalog).0))
}

fn carried(catalog: &Catalog) -> Arc<Laws> {
    static FITTED: OnceLock<Mutex<HashMap<String, Arc<Laws>>>> = OnceLock::new();
    let fitted = FITTED.get_or_init(Mutex::default);
    let mut fitted = fitted.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let fit = || {
        let all: Vec<&Run> = bundled().iter().collect();
        Arc::new(Laws::fit(&observations(&all, catalog).0))
    };
    fitted.entry(catalog.hash.clone()).or_insert_with(fit).clone()
}
