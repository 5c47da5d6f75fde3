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

/// Words that are in the names of cards and say nothing about which one it is.
const FILLING: [&str; 18] = [
    "NVIDIA",
    "AMD",
    "INTEL",
    "TESLA",
    "GEFORCE",
    "INSTINCT",
    "GPU",
    "GPUS",
    "CARD",
    "ACCELERATOR",
    "TENSOR",
    "CORE",
    "EDITION",
    "GENERATION",
    "BLACKWELL",
    "AC",
    "LC",
    "ECC",
];
const FORMS: [&str; 4] = ["SXM", "PCIE", "NVL", "OAM"];

/// A name taken apart: what it is, how large its memory is, and in which form it comes.
struct Parts {
    /// What is left without the words that say nothing, its memory and its form.
    base: String,
    /// The same with the form.
    with_form: String,
    memory_gib: Option<f64>,
    form: Option<&'static str>,
}

/// The form that a word names: `SXM6` is `SXM`.
fn form_of(word: &str) -> Option<&'static str> {
    FORMS.into_iter().find(|form| word.trim_end_matches(|c: char| c.is_ascii_digit()) == *form)
}

/// `80GB` or `80G`; a number alone is part of the name.
fn memory_of(word: &str) -> Option<f64> {
    let number = ["GIB", "GB", "G"].into_iter().find_map(|unit| word.strip_suffix(unit))?;
    number.parse().ok().filter(|gib| (1.0..10_000.0).contains(gib))
}

/// `HBM3`, `GDDR7X` and the like.
fn is_kind_of_memory(word: &str) -> bool {
    ["HBM", "GDDR"].into_iter().any(|kind| word.strip_prefix(kind).is_some_and(|rest| rest.len() <= 3))
}

impl Parts {
    /// `None` for a part of a card: half of it is not it.
    fn of(name: &str) -> Option<Self> {
        let upper = name.to_uppercase();
        let mut words: Vec<&str> =
            upper.split(|c: char| !c.is_ascii_alphanumeric() && c != '.').filter(|w| !w.is_empty()).collect();
        let is_slice = |word: &&str| *word == "MIG" || *word == "VGPU" || word.contains("G.") && word.ends_with("GB");
        if words.iter().any(is_slice) {
            return None;
        }
        let memory_gib = words.iter().find_map(|word| memory_of(word));
        let form = words.iter().find_map(|word| form_of(word));
        words.retain(|word| !FILLING.contains(word) && memory_of(word).is_none() && !is_kind_of_memory(word));
        let with_form = words.iter().map(|word| form_of(word).unwrap_or(word)).collect::<String>();
        words.retain(|word| form_of(word).is_none());
        let plain = |text: String| text.chars().filter(char::is_ascii_alphanumeric).collect();
        Some(Self { base: plain(words.concat()), with_form: plain(with_form), memory_gib, form })
    }
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
        let hint = format!("{name} {hint}").to_uppercase();
        let said = FORMS.into_iter().find(|form| hint.contains(form));
        let memory_gib = memory_gib.filter(|gib| *gib > 0.0);
        // An alias as it stands; the one of another form where the form is named beside it: `H200` on a `..._nvl`.
        let exact = normal(name);
        if let Some(candidates) = self.0.get(&exact) {
            let comes_so = |form: &str| {
                candidates.iter().any(|a| [form, "UNKNOWN"].contains(&a.form_factor.to_uppercase().as_str()))
            };
            let formed = said.filter(|form| !comes_so(form)).and_then(|form| self.0.get(&format!("{exact}{form}")));
            return choose(formed.unwrap_or(candidates), memory_gib, said);
        }
        // Taken apart: `B300 SXM6 262GB` is a B300, and `H200 PCIe` is no H200 that is known.
        let Some(parts) = Parts::of(name) else { return Match::Unknown };
        let memory_gib = memory_gib.or(parts.memory_gib);
        if let Some(candidates) = self.0.get(&parts.with_form) {
            return choose(candidates, memory_gib, said);
        }
        let Some(candidates) = self.0.get(&parts.base) else { return Match::Unknown };
        let fits = |card: &Accelerator| {
            parts.form.is_none_or(|form| card.form_factor == "unknown" || card.form_factor.eq_ignore_ascii_case(form))
        };
        let of_form: Vec<&Accelerator> = candidates.iter().copied().filter(|card| fits(card)).collect();
        choose(&of_form, memory_gib, said)
    }
}

/// Which of the cards of one name it is, by its memory and then by its form.
fn choose(candidates: &[&Accelerator], memory_gib: Option<f64>, form: Option<&str>) -> Match {
    let fits = |a: &&&Accelerator| match (memory_gib, a.memory_gb) {
        (Some(gib), Some(gb)) => (gib / gb - 1.0).abs() <= MEMORY_TOLERANCE,
        _ => true,
    };
    let fitting: Vec<&&Accelerator> = candidates.iter().filter(fits).collect();
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
        for name in ["RTXPRO6000BSE", "rtx-pro-server-6000"] {
            assert_eq!(aliases.resolve(name, Some(96.0), ""), known("nvidia/rtx-pro-6000-bse-96"));
        }
        assert_eq!(aliases.resolve("RTXPRO6000WS", Some(96.0), ""), known("nvidia/rtx-pro-6000-ws-96"));
        // 22.5 GiB is what the driver of a 24 GB card says.
        assert_eq!(aliases.resolve("L4", Some(22.5), ""), known("nvidia/l4-24"));
        assert_eq!(aliases.resolve("Tesla T4", None, ""), known("nvidia/t4-16"));
        // A 12 GiB RTX 4070 that a marketplace calls by a name that is not here, and a card of the wrong size.
        assert_eq!(aliases.resolve("RTX4070", Some(12.0), ""), Match::Unknown);
        assert_eq!(aliases.resolve("L4", Some(80.0), ""), Match::Unknown);
    }

    /// What drivers, clouds and price lists call the newer cards.
    #[test]
    fn the_names_that_drivers_and_clouds_give() {
        let catalog = Catalog::embedded().unwrap();
        let aliases = Aliases::of(catalog.accelerators.values());
        let id = |name: &str, memory: Option<f64>, hint: &str| match aliases.resolve(name, memory, hint) {
            Match::Known(id) => id,
            Match::Assumed(id) => format!("{id}?"),
            Match::Unknown => "unknown".to_string(),
        };
        for (name, memory, expected) in [
            ("NVIDIA B300 SXM6 AC", Some(268.6), "nvidia/b300-288"),
            ("B300 SXM6 262GB", Some(262.0), "nvidia/b300-288"),
            ("B300-SXM6-288GB", None, "nvidia/b300-288"),
            ("NVIDIA GB300", Some(277.0), "nvidia/gb300-288"),
            ("NVIDIA B200", Some(179.0), "nvidia/b200-180"),
            ("B200 SXM6 180GB HBM3e", None, "nvidia/b200-180"),
            ("NVIDIA RTX PRO 6000 Blackwell Server Edition", Some(95.6), "nvidia/rtx-pro-6000-bse-96"),
            ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", Some(95.6), "nvidia/rtx-pro-6000-ws-96"),
            ("RTX PRO 6000 WS", None, "nvidia/rtx-pro-6000-ws-96"),
            ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", Some(95.6), "nvidia/rtx-pro-6000-max-q-96"),
            ("RTX PRO 6000 Max-Q", Some(96.0), "nvidia/rtx-pro-6000-max-q-96"),
            ("RTX PRO 6000", Some(96.0), "nvidia/rtx-pro-6000-bse-96?"),
            ("NVIDIA RTX PRO 5000 Blackwell", Some(47.0), "nvidia/rtx-pro-5000-48"),
            ("NVIDIA RTX PRO 5000 72GB Blackwell", None, "nvidia/rtx-pro-5000-72"),
            ("NVIDIA RTX PRO 4500 Blackwell", Some(32.0), "nvidia/rtx-pro-4500-32"),
            ("NVIDIA RTX PRO 4000 Blackwell", Some(24.0), "nvidia/rtx-pro-4000-24"),
            ("NVIDIA GeForce RTX 5090", Some(31.8), "nvidia/rtx-5090-32"),
            ("NVIDIA RTX 6000 Ada Generation", Some(48.0), "nvidia/rtx-6000-ada-48"),
            ("NVIDIA H20", Some(95.6), "nvidia/h20-96"),
            ("NVIDIA L20", Some(48.0), "nvidia/l20-48"),
            ("NVIDIA L2", Some(24.0), "nvidia/l2-24"),
            ("NVIDIA H200 NVL", Some(141.0), "nvidia/h200-nvl-141"),
            ("H200 NVL 141GB", None, "nvidia/h200-nvl-141"),
            ("H200 SXM5 141GB", None, "nvidia/h200-sxm-141"),
            ("NVIDIA H100 80GB HBM3", Some(79.6), "nvidia/h100-sxm-80"),
            ("NVIDIA-A100-SXM4-80GB", Some(80.0), "nvidia/a100-sxm-80"),
            ("AMD Instinct MI355X", Some(288.0), "amd/mi355x-288"),
            ("AMD Instinct MI350X", Some(288.0), "amd/mi350x-288"),
            ("AMD_Instinct_MI325X_OAM", None, "amd/mi325x-256"),
            ("AMD Instinct MI300X OAM", Some(192.0), "amd/mi300x-192"),
            // Parts of a card, other cards whose names begin the same, and forms that there are not.
            ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", Some(10.0), "unknown"),
            ("A100-SXM4-80GB MIG 3g.40gb", Some(40.0), "unknown"),
            ("NVIDIA A100-SXM4-80GB 1g.80gb", Some(80.0), "unknown"),
            ("NVIDIA GeForce RTX 5090 Laptop GPU", Some(24.0), "unknown"),
            ("NVIDIA GeForce RTX 5090 D", Some(32.0), "unknown"),
            ("8x H100 80GB", None, "unknown"),
            ("B300 PCIe", Some(24.0), "unknown"),
            ("L4 SXM", Some(80.0), "unknown"),
        ] {
            assert_eq!(id(name, memory, ""), expected, "{name}");
        }
        assert_eq!(id("A100", Some(40.0), "gpu_8x_a100_sxm4"), "nvidia/a100-sxm-40");
        // The name of the type says what the name of the card does not.
        assert_eq!(id("H200", Some(141.0), "gpu_1x_h200_nvl"), "nvidia/h200-nvl-141");
        assert_eq!(id("H200", Some(141.0), "gpu_1x_h200"), "nvidia/h200-sxm-141");
    }
}
