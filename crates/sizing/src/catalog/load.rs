//! The catalog as a whole: read, joined, and identified by a hash.

use super::accelerator::Accelerator;
use super::alias::{Aliases, Match};
use super::cpu::CpuModel;
use super::facts::{Adder, AdderKind, CarbonRow, Provider, Source};
use super::finding::{Finding, Severity};
use super::join;
use super::offer::Offer;
use super::price::Market;
use super::tables::{Files, Row, Tables};
use crate::data_file::bounded;
use crate::record::RunRecord;
use crate::record::environment::CpuRecord;
use include_dir::{Dir, include_dir};
use jiff::civil::Date;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use thiserror::Error;

static EMBEDDED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../instance-catalog");

/// A catalog that cannot be used.
#[derive(Debug, Error)]
pub enum CatalogError {
    /// A row or a file is wrong.
    #[error("{0}{more}", more = match .1 { 0 => String::new(), n => format!(" ({n} more: `sizewell catalog check`)") })]
    Wrong(Box<Finding>, usize),
    /// A file cannot be read.
    #[error(
        "{0}: {1}; a catalog folder holds accelerators.csv, cpus.csv, providers.csv, sources.csv, shapes/PROVIDER.csv and prices/PROVIDER.csv"
    )]
    Unreadable(String, std::io::Error),
}

/// All facts of a catalog.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// Accelerators by id.
    pub accelerators: BTreeMap<String, Accelerator>,
    /// CPU generations.
    pub cpus: Vec<CpuModel>,
    /// Providers by the name of their files.
    pub providers: BTreeMap<String, Provider>,
    /// Sources by id.
    pub sources: BTreeMap<String, Source>,
    /// Offers, in the order of the files.
    pub offers: Vec<Offer>,
    /// What comes on top of instances.
    pub adders: Vec<Adder>,
    /// Carbon of the grid by provider and region.
    pub carbon: BTreeMap<(String, String), CarbonRow>,
    /// Where it is from: `embedded`, or a folder.
    pub origin: String,
    /// BLAKE3 of its files, in the order of their names.
    pub hash: String,
}

/// The files that the program carries.
pub fn embedded_files() -> Files {
    let mut files = Files::new();
    let folders = [Some(&EMBEDDED), EMBEDDED.get_dir("shapes"), EMBEDDED.get_dir("prices")];
    for file in folders.into_iter().flatten().flat_map(|folder| folder.files()) {
        let name = file.path().to_string_lossy().into_owned();
        if let Some(text) = file.contents_utf8().filter(|_| name.ends_with(".csv")) {
            files.insert(name, Cow::Borrowed(text));
        }
    }
    files
}

/// The files of a folder.
pub fn folder_files(folder: &Path) -> Result<Files, CatalogError> {
    let fail = |path: &Path, e: std::io::Error| CatalogError::Unreadable(path.display().to_string(), e);
    let mut files = Files::new();
    for place in ["", "shapes", "prices"] {
        let path = folder.join(place);
        for entry in std::fs::read_dir(&path).map_err(|e| fail(&path, e))?.flatten() {
            let path = entry.path();
            if path.is_file() && path.extension().is_some_and(|e| e == "csv") {
                let file = entry.file_name().to_string_lossy().into_owned();
                let name = if place.is_empty() { file } else { format!("{place}/{file}") };
                let text = bounded::text(&path, bounded::MOST_TEXT);
                let text = text.map_err(|e| fail(&path, std::io::Error::other(e)))?;
                files.insert(name, Cow::Owned(text));
            }
        }
    }
    if files.contains_key("accelerators.csv") {
        return Ok(files);
    }
    Err(fail(&folder.join("accelerators.csv"), std::io::Error::from(std::io::ErrorKind::NotFound)))
}

/// What stands before the names of files in messages.
pub fn prefix(origin: &str) -> String {
    if origin == "embedded" { "instance-catalog/".to_string() } else { format!("{}/", origin.trim_end_matches('/')) }
}

impl Catalog {
    /// The catalog that the binary carries.
    pub fn embedded() -> Result<Self, CatalogError> {
        Self::from_files("embedded", &embedded_files())
    }

    /// The catalog of a folder of the same layout.
    pub fn from_folder(folder: &Path) -> Result<Self, CatalogError> {
        Self::from_files(&folder.display().to_string(), &folder_files(folder)?)
    }

    /// What an hour of an instance type costs on demand, in USD, where that is cheapest; `None` where it is not offered.
    pub fn on_demand_usd_per_h(&self, provider: &str, instance_type: &str) -> Option<f64> {
        let of_type = self.offers.iter().filter(|offer| {
            *offer.shape.provider == *provider
                && *offer.shape.instance_type == *instance_type
                && offer.market == Market::OnDemand
                && offer.unrankable().is_none()
        });
        of_type.filter_map(|offer| Some(offer.usd_per_h()?.to_f64())).min_by(f64::total_cmp)
    }

    /// The catalog of these files. It is refused where a row cannot be read or refers to nothing; everything else is
    /// left to `catalog check` and to the flags of the rows.
    pub fn from_files(origin: &str, files: &Files) -> Result<Self, CatalogError> {
        let prefix = prefix(origin);
        let (tables, mut findings) = Tables::read(&prefix, files);
        let offers = join::offers(&prefix, &tables, &mut findings);
        let mut errors = findings.into_iter().filter(|finding| finding.severity == Severity::Error);
        if let Some(first) = errors.next() {
            return Err(CatalogError::Wrong(Box::new(first), errors.count()));
        }
        let mut hasher = blake3::Hasher::new();
        for (name, text) in files {
            hasher.update(name.as_bytes()).update(text.as_bytes());
        }
        fn keyed<T>(rows: Vec<Row<T>>, key: fn(&T) -> &String) -> BTreeMap<String, T> {
            rows.into_iter().map(|row| (key(&row.value).clone(), row.value)).collect()
        }
        let carbon = tables.carbon.into_iter().map(|row| row.value);
        Ok(Self {
            accelerators: keyed(tables.accelerators, |a| &a.id),
            cpus: tables.cpus.into_iter().map(|row| row.value).collect(),
            providers: keyed(tables.providers, |p| &p.provider),
            sources: keyed(tables.sources, |s| &s.id),
            offers,
            adders: tables.adders.into_iter().map(|row| row.value).collect(),
            carbon: carbon.map(|row| ((row.provider.clone(), row.region.clone()), row)).collect(),
            origin: origin.to_string(),
            hash: hasher.finalize().to_hex().to_string(),
        })
    }

    /// Whether there is an offer of this type; the error says how to find one.
    pub fn check_type(&self, provider: &str, instance_type: &str) -> Result<(), String> {
        if self.offers.iter().any(|o| &*o.shape.provider == provider && &*o.shape.instance_type == instance_type) {
            Ok(())
        } else {
            Err(format!(
                "the catalog has no offer {provider}:{instance_type}; `sizewell catalog list --provider {provider}` \
                 shows what it has, --price-per-hour sets a price"
            ))
        }
    }

    /// The accelerator of an offer; `None` where it has none, or one that the catalog does not know.
    pub fn accelerator(&self, offer: &Offer) -> Option<&Accelerator> {
        self.accelerators.get(offer.shape.accelerator.as_deref()?)
    }

    /// The accelerator that goes by a name, where the name (with the memory, if that is known) says which one it is.
    pub fn accelerator_named(&self, name: &str, memory_gib: Option<f64>) -> Option<&Accelerator> {
        match Aliases::of(self.accelerators.values()).resolve(name, memory_gib, "") {
            Match::Known(id) | Match::Assumed(id) => self.accelerators.get(&id),
            Match::Unknown => None,
        }
    }

    /// The card that a run was on; `None` where it was on the CPU, or on a card that the catalog does not name.
    pub fn accelerator_of_run(&self, record: &RunRecord) -> Option<&Accelerator> {
        let hardware = record.engine.hardware.as_deref().filter(|_| record.engine.device != "cpu")?;
        let gpu = record.environment.gpus.iter().find(|gpu| gpu.name == hardware);
        let memory = gpu.and_then(|gpu| gpu.memory_bytes).map(|bytes| bytes.0 / 1024f64.powi(3));
        self.accelerator_named(hardware, memory)
    }

    /// Which generation of the catalog a machine's CPU is.
    pub fn cpu_of(&self, cpu: &CpuRecord) -> Option<&CpuModel> {
        self.cpus.iter().find(|model| model.is(cpu))
    }

    /// Where a price was seen, in words.
    pub fn source(&self, id: &str) -> &str {
        self.sources.get(id).map_or("", |source| &source.what)
    }

    /// Carbon of the grid of a region.
    pub fn carbon_of(&self, provider: &str, region: &str) -> Option<&CarbonRow> {
        // The parts of a provider share its halls.
        let provider = match provider {
            "aws-sagemaker" => "aws",
            other => other,
        };
        self.carbon.get(&(provider.to_string(), region.to_string()))
    }

    /// What a provider takes on top: rows of the region where there are any, else those of `any`.
    pub fn adders_of(&self, provider: &str, region: &str, kind: AdderKind) -> Vec<&Adder> {
        let of = |wanted: &str| -> Vec<&Adder> {
            let same = |a: &&Adder| a.provider == provider && a.kind == kind && a.region == wanted;
            self.adders.iter().filter(same).collect()
        };
        let here = of(region);
        if here.is_empty() { of("any") } else { here }
    }

    /// The newest date that a price was seen.
    pub fn newest(&self) -> Option<Date> {
        self.offers.iter().filter_map(|offer| offer.observed_at).max()
    }
}
