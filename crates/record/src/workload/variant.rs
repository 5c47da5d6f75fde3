//! What is compared: a level of quantization, pruned or not.

use super::{Pruning, Quant};
use std::fmt;
use std::str::FromStr;

/// A level, and how it was pruned before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Variant {
    /// The level that weights are stored at.
    pub quant: Quant,
    /// How they were pruned.
    pub pruning: Option<Pruning>,
}

impl Variant {
    /// A level as it is.
    pub fn plain(quant: Quant) -> Self {
        Self { quant, pruning: None }
    }

    /// How files write the pruning; empty for none.
    pub fn pruning_name(&self) -> String {
        self.pruning.map_or(String::new(), |pruning| pruning.to_string())
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pruning {
            Some(pruning) => f.pad(&format!("{} {pruning}", self.quant)),
            None => f.pad(self.quant.name()),
        }
    }
}

/// A pruning as the command line has it: `wanda:0.5`, or with the level that it is stored at, `wanda:0.5@int4`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PruningRequest {
    /// How to prune.
    pub pruning: Pruning,
    /// The level; that of the reference by default.
    pub quant: Option<Quant>,
}

impl FromStr for PruningRequest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('@') {
            None => Ok(Self { pruning: text.parse()?, quant: None }),
            Some((pruning, quant)) => {
                Ok(Self { pruning: pruning.parse()?, quant: Some(Quant::parse_runnable(quant)?) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pruning_can_name_its_level() {
        let asked: PruningRequest = "wanda:2:4@int4".parse().unwrap();
        let variant = Variant { quant: asked.quant.unwrap(), pruning: Some(asked.pruning) };
        assert_eq!(variant.to_string(), "int4 wanda:2:4");
        assert!("wanda:0.5@int3".parse::<PruningRequest>().unwrap_err().contains("int3"));
    }
}
