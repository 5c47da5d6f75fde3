//! The catalog as a whole: read, checked for references, and identified by a hash.

use super::accelerator::Accelerator;
use super::cpu::CpuModel;
use super::offer::{self, Offer};
use crate::record::environment::CpuRecord;
use include_dir::{Dir, include_dir};
use jiff::civil::Date;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::Path;
use thiserror::Error;

static EMBEDDED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/instance-catalog");

/// A catalog that cannot be used.
#[derive(Debug, Error)]
#[error("{file}:{line}: {message}")]
pub struct CatalogError {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// All facts of a catalog.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// Accelerators by id.
    pub accelerators: BTreeMap<String, Accelerator>,
    /// CPU generations.
    pub cpus: Vec<CpuModel>,
    /// Offers, in the order of the files.
    pub offers: Vec<Offer>,
    /// Where it is from: `embedded` or a folder.
    pub origin: String,
    /// BLAKE3 of its files, in the order of their names.
    pub hash: String,
}

impl Catalog {
    /// The catalog that the binary carries.
    pub fn embedded() -> Result<Self, CatalogError> {
        let mut files = BTreeMap::new();
        let folders = [Some(&EMBEDDED), EMBEDDED.get_dir("offers")];
        for file in folders.into_iter().flatten().flat_map(|folder| folder.files()) {
            if let Some(text) = file.contents_utf8() {
                files.insert(file.path().to_string_lossy().into_owned(), text.to_string());
            }
        }
        Self::from_files("embedded", files)
    }

    /// The catalog of a folder of the same layout.
    pub fn from_folder(folder: &Path) -> Result<Self, CatalogError> {
        let fail = |path: &Path, e: std::io::Error| CatalogError {
            file: path.display().to_string(),
            line: 0,
            message: format!("{e}; a catalog folder holds accelerators.csv, cpus.csv and offers/PROVIDER.csv"),
        };
        let mut files = BTreeMap::new();
        for name in ["accelerators.csv", "cpus.csv"] {
            let path = folder.join(name);
            files.insert(name.to_string(), std::fs::read_to_string(&path).map_err(|e| fail(&path, e))?);
        }
        let offers = folder.join("offers");
        for entry in std::fs::read_dir(&offers).map_err(|e| fail(&offers, e))?.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|e| e == "csv") {
                let name = format!("offers/{}", entry.file_name().to_string_lossy());
                files.insert(name, std::fs::read_to_string(&path).map_err(|e| fail(&path, e))?);
            }
        }
        Self::from_files(&folder.display().to_string(), files)
    }

    fn from_files(origin: &str, files: BTreeMap<String, String>) -> Result<Self, CatalogError> {
        let mut hasher = blake3::Hasher::new();
        for (name, text) in files.iter().filter(|(name, _)| name.ends_with(".csv")) {
            hasher.update(name.as_bytes()).update(text.as_bytes());
        }
        let table = |name: &str| files.get(name).map(String::as_str).unwrap_or("");
        let accelerators: Vec<Accelerator> = rows(origin, "accelerators.csv", table("accelerators.csv"))?;
        let cpus: Vec<CpuModel> = rows(origin, "cpus.csv", table("cpus.csv"))?;
        let accelerators: BTreeMap<String, Accelerator> =
            accelerators.into_iter().map(|accelerator| (accelerator.id.clone(), accelerator)).collect();
        let mut offers = Vec::new();
        for (name, text) in &files {
            let Some(provider) = name.strip_prefix("offers/").and_then(|n| n.strip_suffix(".csv")) else { continue };
            let read = offer::read(provider, text).map_err(|(line, message)| error(origin, name, line, message))?;
            for (index, offer) in read.iter().enumerate() {
                check_references(offer, &accelerators, &cpus)
                    .map_err(|message| error(origin, name, index + 2, message))?;
            }
            offers.extend(read);
        }
        let hash = hasher.finalize().to_hex().to_string();
        Ok(Self { accelerators, cpus, offers, origin: origin.to_string(), hash })
    }

    /// Whether there is an offer of this type; the error says how to find one.
    pub fn check_type(&self, provider: &str, instance_type: &str) -> Result<(), String> {
        match self.offers.iter().any(|o| o.provider == provider && o.instance_type == instance_type) {
            true => Ok(()),
            false => Err(format!(
                "the catalog has no offer {provider}:{instance_type}; `sizewell catalog list --provider {provider}` \
                 shows what it has, --price-per-hour sets a price"
            )),
        }
    }

    /// The accelerator of an offer.
    pub fn accelerator(&self, offer: &Offer) -> Option<&Accelerator> {
        self.accelerators.get(offer.accelerator.as_deref()?)
    }

    /// Which generation of the catalog a machine's CPU is.
    pub fn cpu_of(&self, cpu: &CpuRecord) -> Option<&CpuModel> {
        self.cpus.iter().find(|model| model.is(cpu))
    }

    /// The newest date that a price was seen.
    pub fn newest(&self) -> Option<Date> {
        self.offers.iter().filter_map(|offer| offer.observed_at).max()
    }
}

fn error(origin: &str, name: &str, line: usize, message: String) -> CatalogError {
    let file = if origin == "embedded" { format!("instance-catalog/{name}") } else { format!("{origin}/{name}") };
    CatalogError { file, line, message }
}

fn rows<T: DeserializeOwned>(origin: &str, name: &str, text: &str) -> Result<Vec<T>, CatalogError> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let numbered = reader.deserialize().enumerate();
    numbered.map(|(index, row)| row.map_err(|e| error(origin, name, index + 2, e.to_string()))).collect()
}

fn check_references(
    offer: &Offer,
    accelerators: &BTreeMap<String, Accelerator>,
    cpus: &[CpuModel],
) -> Result<(), String> {
    if let Some(id) = &offer.accelerator
        && !accelerators.contains_key(id)
    {
        return Err(format!("accelerator `{id}` is not in accelerators.csv: add it there, or correct the id"));
    }
    if let Some(id) = &offer.cpu
        && !cpus.iter().any(|cpu| cpu.id == *id)
    {
        return Err(format!("cpu `{id}` is not in cpus.csv: add it there, or correct the id"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Market;
    use crate::workload::Quant;
    use std::collections::HashSet;

    #[test]
    fn the_shipped_catalog_is_sound() {
        let catalog = Catalog::embedded().unwrap();
        for provider in ["aws", "gcp", "azure", "lambda", "runpod"] {
            assert!(catalog.offers.iter().any(|o| o.provider == provider && o.accelerator.is_some()), "{provider}");
        }
        for provider in ["aws", "gcp", "azure"] {
            assert!(catalog.offers.iter().any(|o| o.provider == provider && o.cpu.is_some()), "{provider}");
        }
        let mut keys = HashSet::new();
        for offer in &catalog.offers {
            let key = (offer.name(), offer.region.clone(), offer.zone.clone(), offer.market);
            assert!(keys.insert(key.clone()), "{key:?} twice");
            assert!(!offer.source.is_empty() && !offer.source_licence.is_empty(), "{key:?}");
            let dated =
                offer.observed_at.is_some() || offer.flags.iter().any(|f| f.contains("as_of") || f.contains("stale"));
            assert!(dated, "{key:?} has neither a date nor a flag that says so");
        }
        for accelerator in catalog.accelerators.values() {
            assert!(!accelerator.source.is_empty(), "{}", accelerator.id);
        }
    }

    /// The traps that other tables fell into: sparse rates as dense ones, one card's rates for its sibling.
    #[test]
    fn specifications_are_dense_and_consistent() {
        let catalog = Catalog::embedded().unwrap();
        let get = |id: &str| &catalog.accelerators[id];
        assert_eq!(get("nvidia/h100-sxm-80").fp16_tflops, Some(989.0), "dense, not the sparse 1,979");
        assert_eq!(get("nvidia/a10g-24").fp16_tflops, Some(70.0), "not the A10's 125");
        assert_eq!(get("nvidia/h100-nvl-94").fp16_tflops, Some(835.0));
        assert_eq!(get("nvidia/l4-24").memory_bandwidth_gb_per_s, Some(300.0));
        assert_eq!(get("nvidia/t4-16").arithmetic(Quant::Bf16), None, "no bf16 before Ampere");
        for accelerator in catalog.accelerators.values() {
            let id = &accelerator.id;
            if let ("NVIDIA", Some(fp16), Some(fp8)) =
                (accelerator.vendor.as_str(), accelerator.fp16_tflops, accelerator.fp8_tflops)
            {
                assert!((1.3..=2.6).contains(&(fp8 / fp16)), "{id}: fp8 is about twice fp16 where both are dense");
            }
            if let (Some(gb), Some(memory)) = (accelerator.memory_gb, accelerator.memory()) {
                let share = memory.0 / (gb * 1024f64.powi(3));
                assert!((0.85..=1.01).contains(&share), "{id}: {share} of the nominal memory");
            }
        }
    }

    #[test]
    fn spot_is_not_dearer_than_on_demand() {
        let catalog = Catalog::embedded().unwrap();
        for spot in catalog.offers.iter().filter(|o| o.market == Market::Spot) {
            let regular = catalog
                .offers
                .iter()
                .find(|o| o.market == Market::OnDemand && o.name() == spot.name() && o.region == spot.region);
            if let Some(regular) = regular {
                assert!(spot.usd_per_h <= regular.usd_per_h, "{} {}", spot.name(), spot.region);
            }
        }
    }

    #[test]
    fn a_machine_is_told_by_its_name_or_its_numbers() {
        let catalog = Catalog::embedded().unwrap();
        let cpu = |model: &str, signature: &str| CpuRecord {
            model: model.to_string(),
            signature: signature.to_string(),
            ..CpuRecord::default()
        };
        let id = |cpu: CpuRecord| catalog.cpu_of(&cpu).map(|model| model.id.clone());
        assert_eq!(id(cpu("AMD EPYC 9R14", "")), Some("amd/genoa".to_string()));
        assert_eq!(id(cpu("AMD EPYC", "25/17/1")), Some("amd/genoa".to_string()));
        assert_eq!(id(cpu("AMD EPYC", "25/170/1")), None);
        assert_eq!(id(cpu("unknown", "//")), None);
    }

    #[test]
    fn a_bad_row_is_named_with_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        EMBEDDED.extract(folder.path()).unwrap();
        let path = folder.path().join("offers/lambda.csv");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(Catalog::from_folder(folder.path()).is_ok());
        let check = |from: &str, to: &str, line: usize, part: &str| {
            std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
            let error = Catalog::from_folder(folder.path()).unwrap_err();
            assert!(error.file.ends_with("offers/lambda.csv"), "{error}");
            assert!(error.line >= line && error.message.contains(part), "{error}");
        };
        check("nvidia/a10-24", "nvidia/a11", 2, "`nvidia/a11` is not in accelerators.csv");
        check(",1.29,", ",0.0,", 2, "usd_per_h is 0.0");
        check(",1.29,", ",cheap,", 2, "cheap");
        check("on_demand", "sometimes", 2, "sometimes");
        check("instance_type,", "instance_typo,", 2, "instance_typo");
        std::fs::remove_dir_all(folder.path().join("offers")).unwrap();
        assert!(Catalog::from_folder(folder.path()).unwrap_err().message.contains("offers/PROVIDER.csv"));
    }
}
