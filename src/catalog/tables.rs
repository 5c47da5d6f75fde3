//! The files of a catalog as rows with their lines: read without judging more than a row can tell by itself.

use super::accelerator::Accelerator;
use super::cpu::CpuModel;
use super::facts::{Adder, CarbonRow, Provider, Source};
use super::finding::Finding;
use super::price::PriceRow;
use super::shape::ShapeRow;
use crate::data_file;
use rust_decimal::Decimal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The texts of the files by their names within the folder.
pub type Files = BTreeMap<String, Cow<'static, str>>;

/// Files that a catalog must have.
pub const REQUIRED: [&str; 4] = ["accelerators.csv", "cpus.csv", "providers.csv", "sources.csv"];

/// A row and the line that it begins on.
#[derive(Debug, Clone, PartialEq)]
pub struct Row<T> {
    /// From 1; 0 where it was not read from a file.
    pub line: usize,
    /// What it says.
    pub value: T,
}

/// All rows of a catalog.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    /// accelerators.csv.
    pub accelerators: Vec<Row<Accelerator>>,
    /// cpus.csv.
    pub cpus: Vec<Row<CpuModel>>,
    /// providers.csv.
    pub providers: Vec<Row<Provider>>,
    /// sources.csv.
    pub sources: Vec<Row<Source>>,
    /// adders.csv.
    pub adders: Vec<Row<Adder>>,
    /// carbon.csv.
    pub carbon: Vec<Row<CarbonRow>>,
    /// shapes/PROVIDER.csv by provider.
    pub shapes: BTreeMap<String, Vec<Row<ShapeRow>>>,
    /// prices/PROVIDER.csv by provider.
    pub prices: BTreeMap<String, Vec<Row<PriceRow>>>,
}

/// The provider of `shapes/PROVIDER.csv` and the like.
fn provider_of<'a>(name: &'a str, folder: &str) -> Option<&'a str> {
    name.strip_prefix(folder)?.strip_prefix('/')?.strip_suffix(".csv")
}

impl Tables {
    /// Reads the files, and says what is wrong with rows that could not be read; `prefix` stands before names.
    pub fn read(prefix: &str, files: &Files) -> (Self, Vec<Finding>) {
        let mut findings = Vec::new();
        let mut tables = Self::default();
        for name in REQUIRED {
            if !files.contains_key(name) {
                findings.push(Finding::error(
                    "missing_file",
                    (&format!("{prefix}{name}"), 0),
                    "the file is not there",
                    "a catalog folder holds accelerators.csv, cpus.csv, providers.csv, sources.csv, \
                     shapes/PROVIDER.csv and prices/PROVIDER.csv",
                ));
            }
        }
        for (name, text) in files {
            let file = format!("{prefix}{name}");
            match name.as_str() {
                "accelerators.csv" => tables.accelerators = rows(&file, text, &mut findings),
                "cpus.csv" => tables.cpus = rows(&file, text, &mut findings),
                "providers.csv" => tables.providers = rows(&file, text, &mut findings),
                "sources.csv" => tables.sources = rows(&file, text, &mut findings),
                "adders.csv" => tables.adders = rows(&file, text, &mut findings),
                "carbon.csv" => tables.carbon = rows(&file, text, &mut findings),
                _ => {
                    if let Some(provider) = provider_of(name, "shapes") {
                        let mut read: Vec<Row<ShapeRow>> = rows(&file, text, &mut findings);
                        read.retain(|row| sound(row.value.fault(), "bad_shape", (&file, row.line), &mut findings));
                        tables.shapes.insert(provider.to_string(), read);
                    } else if let Some(provider) = provider_of(name, "prices") {
                        let mut read: Vec<Row<PriceRow>> = rows(&file, text, &mut findings);
                        read.retain(|row| positive(&row.value, (&file, row.line), &mut findings));
                        tables.prices.insert(provider.to_string(), read);
                    }
                }
            }
        }
        (tables, findings)
    }

    /// The files of these rows.
    pub fn write(&self) -> Result<Files, csv::Error> {
        let mut files = Files::new();
        let mut put = |name: String, text: String| files.insert(name, Cow::Owned(text));
        put("accelerators.csv".into(), text(&self.accelerators)?);
        put("cpus.csv".into(), text(&self.cpus)?);
        put("providers.csv".into(), text(&self.providers)?);
        put("sources.csv".into(), text(&self.sources)?);
        put("adders.csv".into(), text(&self.adders)?);
        put("carbon.csv".into(), text(&self.carbon)?);
        for (provider, rows) in &self.shapes {
            put(format!("shapes/{provider}.csv"), text(rows)?);
        }
        for (provider, rows) in &self.prices {
            put(format!("prices/{provider}.csv"), text(rows)?);
        }
        Ok(files)
    }
}

fn text<T: Serialize>(rows: &[Row<T>]) -> Result<String, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(&row.value)?;
    }
    let bytes = writer.into_inner().map_err(|e| csv::Error::from(e.into_error()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn rows<T: DeserializeOwned>(file: &str, text: &str, findings: &mut Vec<Finding>) -> Vec<Row<T>> {
    let mut reader = csv::ReaderBuilder::new().flexible(false).from_reader(text.as_bytes());
    let headers = match reader.headers() {
        Ok(headers) => headers.clone(),
        Err(error) => {
            findings.push(Finding::error("unreadable", (file, 1), error.to_string(), "correct the first line"));
            return Vec::new();
        }
    };
    let mut read = Vec::new();
    let mut record = csv::StringRecord::new();
    loop {
        match reader.read_record(&mut record) {
            Ok(false) => return read,
            Ok(true) => {
                let line = record.position().map_or(0, |p| p.line() as usize);
                match record.deserialize::<T>(Some(&headers)) {
                    Ok(value) => read.push(Row { line, value }),
                    Err(error) => {
                        let message = data_file::with_nearest_key(&cause(&error, &headers));
                        findings.push(Finding::error("unreadable", (file, line), message, "correct the row"));
                        // A wrong header makes every row wrong: once is enough.
                        if findings.iter().filter(|f| f.file == file && f.kind == "unreadable").count() > 20 {
                            return read;
                        }
                    }
                }
            }
            Err(error) => {
                let line = error.position().map_or(0, |p| p.line() as usize);
                findings.push(Finding::error("unreadable", (file, line), error.to_string(), "correct the row"));
                if !matches!(error.kind(), csv::ErrorKind::UnequalLengths { .. }) {
                    return read;
                }
            }
        }
    }
}

/// What a row could not be read for, with the name of the column.
fn cause(error: &csv::Error, headers: &csv::StringRecord) -> String {
    let csv::ErrorKind::Deserialize { err, .. } = error.kind() else { return error.to_string() };
    let column = err.field().and_then(|field| headers.get(field as usize));
    column.map_or(err.kind().to_string(), |column| format!("{column}: {}", err.kind()))
}

fn sound(fault: Option<String>, kind: &'static str, at: (&str, usize), findings: &mut Vec<Finding>) -> bool {
    let Some(fault) = fault else { return true };
    findings.push(Finding::error(kind, at, fault, "correct the row"));
    false
}

fn positive(row: &PriceRow, at: (&str, usize), findings: &mut Vec<Finding>) -> bool {
    let fault =
        row.usd.filter(|usd| *usd <= Decimal::ZERO).map(|usd| format!("usd is {usd}: nothing is sold for that"));
    match fault {
        None => true,
        Some(message) => {
            findings.push(Finding::error(
                "non_positive_price",
                at,
                message,
                "leave usd empty where the price is not known",
            ));
            false
        }
    }
}
