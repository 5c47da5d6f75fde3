//! Which accelerator a provider means by a name. `A100` is four different cards: memory and form factor tell them apart,
//! and where they do not, that is said.

use super::accelerator::Accelerator;
use std::collections::HashMap;

/// Reported and nominal memory of one card differ by up to this share: 22.5 or 24 GiB, 80 GB or 80 GiB.
const MEMORY_TOLERANCE: f64 = 0.11;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// This id.
    Known(String),
    /// This id, where the name does not say which form factor it has.
    Assumed(String),
    /// None of the catalog.
    Unknown,
}

impl Match {
    /// What stands in a shape: the id, or the name of one that is not known; and the flags of the shape.
    pub fn in_shape(self, name: &str) -> (String, String) {
        match self {
            Self::Known(id) => (id, String::new()),
            Self::Assumed(id) => (id, "form_factor_assumed".to_string()),
            Self::Unknown => (name.to_string(), String::new()),
        }
    }
}

/// The names of all accelerators.
pub struct Aliases<'a>(HashMap<String, Vec<&'a Accelerator>>);

/// Capital letters and digits, without the vendor.
fn normal(name: &str) -> String {
    let upper = name.to_uppercase();
    let bare = upper.trim().trim_start_matches("NVIDIA").trim_start_matches(['-', ' ']);
    let bare = bare.strip_prefix("TESLA").or(bare.strip_prefix("GEFORCE")).unwrap_or(bare);
    let bare = bare.strip_prefix("AMD ").unwrap_or(bare);
    bare.chars().filter(|c| c.is_ascii_alphanumeric()).collect()
}

impl<'a> Aliases<'a> {
    /// The names that these accelerators go by.
    pub fn of(accelerators: impl IntoIterator<Item = &'a Accelerator>) -> Self {
        let mut names: HashMap<String, Vec<&Accelerator>> = HashMap::new();
        for accelerator in accelerators {
            let all = accelerator.aliases.split(';').chain([accelerator.name.as_str(), accelerator.id.as_str()]);
            for name in all.map(normal).filter(|name| !name.is_empty()) {
                let known = names.entry(name).or_default();
                if !known.iter().any(|a| a.id == accelerator.id) {
                    known.push(accelerator);
                }
            }
        }
        Self(names)
    }

    /// The accelerator called `name` with `memory_gib` on each; `hint` is a text that may name the form factor, such as
    /// the instance type.
    pub fn resolve(&self, name: &str, memory_gib: Option<f64>, hint: &str) -> Match {
        let Some(candidates) = self.0.get(&normal(name)) else { return Match::Unknown };
        let fits = |a: &&&Accelerator| match (memory_gib.filter(|gib| *gib > 0.0), a.memory_gb) {
            (Some(gib), Some(gb)) => (gib / gb - 1.0).abs() <= MEMORY_TOLERANCE,
            _ => true,
        };
        let fitting: Vec<&&Accelerator> = candidates.iter().filter(fits).collect();
        let hint = format!("{name} {hint}").to_uppercase();
        let form = ["SXM", "PCIE", "NVL", "OAM"].into_iter().find(|form| hint.contains(form));
        let by_form = fitting.iter().find(|a| form.is_some_and(|form| a.form_factor.eq_ignore_ascii_case(form)));
        match (fitting.as_slice(), by_form) {
            ([], _) => Match::Unknown,
            ([only], _) => Match::Known(only.id.clone()),
            (_, Some(chosen)) => Match::Known(chosen.id.clone()),
            (several, None) => {
                // Clouds rent modules on boards unless they say otherwise; without a size it is the smaller one.
                let rank = |a: &Accelerator| (a.memory_gb.unwrap_or(f64::MAX), a.form_factor != "sxm");
                let chosen =
                    several.iter().min_by(|a, b| rank(a).partial_cmp(&rank(b)).unwrap_or(std::cmp::Ordering::Equal));
                chosen.map_or(Match::Unknown, |a| Match::Assumed(a.id.clone()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    #[test]
    fn one_name_is_several_cards() {
        let catalog = Catalog::embedded().unwrap();
        let aliases = Aliases::of(catalog.accelerators.values());
        let known = |id: &str| Match::Known(id.to_string());
        let assumed = |id: &str| Match::Assumed(id.to_string());
        assert_eq!(aliases.resolve("A100", Some(40.0), "p4d.24xlarge"), assumed("nvidia/a100-sxm-40"));
        assert_eq!(aliases.resolve("A100", Some(80.0), "gpu_8x_a100_80gb_sxm4"), known("nvidia/a100-sxm-80"));
        assert_eq!(aliases.resolve("A100-80G-PCIe", Some(80.0), ""), known("nvidia/a100-pcie-80"));
        assert_eq!(aliases.resolve("H100", Some(94.0), "Standard_NC40ads_H100_v5"), known("nvidia/h100-nvl-94"));
        assert_eq!(aliases.resolve("H100", Some(80.0), "gpu_1x_h100_pcie"), known("nvidia/h100-pcie-80"));
        assert_eq!(aliases.resolve("h100", Some(80.0), "gpu-h100x1-80gb"), assumed("nvidia/h100-sxm-80"));
        for name in ["RTX-A6000", "A6000", "RTX_A6000"] {
            assert_eq!(aliases.resolve(name, Some(48.0), ""), known("nvidia/rtx-a6000-48"));
        }
        for name in ["RTXPRO6000BSE", "RTXPRO6000WS", "rtx-pro-server-6000"] {
            assert_eq!(aliases.resolve(name, Some(96.0), ""), known("nvidia/rtx-pro-6000-bse-96"));
        }
        // 22.5 GiB is what the driver of a 24 GB card says.
        assert_eq!(aliases.resolve("L4", Some(22.5), ""), known("nvidia/l4-24"));
        assert_eq!(aliases.resolve("Tesla T4", None, ""), known("nvidia/t4-16"));
        // A 12 GiB RTX 4070 that a marketplace calls by a name that is not here, and a card of the wrong size.
        assert_eq!(aliases.resolve("RTX4070", Some(12.0), ""), Match::Unknown);
        assert_eq!(aliases.resolve("L4", Some(80.0), ""), Match::Unknown);
    }
}
