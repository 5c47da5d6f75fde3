//! CPU generations that cloud families are made of.

use crate::record::environment::CpuRecord;
use serde::{Deserialize, Serialize};

/// A row of cpus.csv.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpuModel {
    /// `vendor/generation`, such as `amd/genoa`.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// `family/model` numbers (x86) or `implementer/part` (ARM), separated by semicolons; empty where they do not tell
    /// this generation from another.
    pub signatures: String,
    /// Parts of the names under which `/proc/cpuinfo` shows it, separated by semicolons.
    pub names: String,
    /// Instance families that have it.
    pub cloud_families: String,
    /// Where this is from.
    pub source: String,
}

fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(';').map(str::trim).filter(|item| !item.is_empty())
}

impl CpuModel {
    /// Whether a machine has this CPU, by its name or by its numbers.
    pub fn is(&self, cpu: &CpuRecord) -> bool {
        let by_name = items(&self.names).any(|name| cpu.model.contains(name));
        let by_number = items(&self.signatures).any(|prefix| {
            cpu.signature.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        by_name || by_number
    }
}
