//! The files of a catalog as rows with their lines: read without judging more than a row can tell by itself.

use super::accelerator::Accelerator;
use super::cpu::CpuModel;
use super::facts::{Adder, CarbonRow, Provider, Source};
use super::finding::Finding;
use super::price::PriceRow;
use super::shape::ShapeRow;
use super::text::{LineCounter, is_control, shown};
use crate::data_file;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// The texts of the files by their names within the folder.
pub type Files = BTreeMap<String, Cow<'static, str>>;

/// Files that a catalog must have.
pub const REQUIRED: [&str; 4] = ["accelerators.csv", "cpus.csv", "providers.csv", "sources.csv"];

/// All files of a catalog outside of shapes/ and prices/.
pub const FILES: [&str; 6] =
    ["accelerators.csv", "cpus.csv", "providers.csv", "sources.csv", "adders.csv", "carbon.csv"];

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
            let all = &mut findings;
            match name.as_str() {
                "accelerators.csv" => tables.accelerators = rows(&file, text, Accelerator::fault, all),
                "cpus.csv" => tables.cpus = rows(&file, text, |_| None, all),
                "providers.csv" => tables.providers = rows(&file, text, Provider::fault, all),
                "sources.csv" => tables.sources = rows(&file, text, |_| None, all),
                "adders.csv" => tables.adders = rows(&file, text, Adder::fault, all),
                "carbon.csv" => tables.carbon = rows(&file, text, CarbonRow::fault, all),
                _ => {
                    if let Some(provider) = provider_of(name, "shapes") {
                        tables.shapes.insert(provider.to_string(), rows(&file, text, ShapeRow::fault, all));
                    } else if let Some(provider) = provider_of(name, "prices") {
                        tables.prices.insert(provider.to_string(), rows(&file, text, PriceRow::fault, all));
                    }
                }
            }
        }
        tables.twice(prefix, &mut findings);
        (tables, findings)
    }

    /// Rows of one id, of which only one could be used, and which one would be an accident.
    fn twice(&self, prefix: &str, findings: &mut Vec<Finding>) {
        fn of<T>(file: &str, rows: &[Row<T>], id: fn(&T) -> &str, findings: &mut Vec<Finding>) {
            let mut seen: HashMap<&str, usize> = HashMap::new();
            for row in rows {
                if let Some(first) = seen.insert(id(&row.value), row.line) {
                    let message = format!("{} is on line {first} too", shown(id(&row.value)));
                    findings.push(Finding::error("duplicate_key", (file, row.line), message, "keep one of the two"));
                }
            }
        }
        of(&format!("{prefix}accelerators.csv"), &self.accelerators, |row| &row.id, findings);
        of(&format!("{prefix}cpus.csv"), &self.cpus, |row| &row.id, findings);
        of(&format!("{prefix}providers.csv"), &self.providers, |row| &row.provider, findings);
        of(&format!("{prefix}sources.csv"), &self.sources, |row| &row.id, findings);
        for (provider, rows) in &self.shapes {
            of(&format!("{prefix}shapes/{provider}.csv"), rows, |row| &row.instance_type, findings);
        }
        for (provider, rows) in &self.prices {
            prices_twice(&format!("{prefix}prices/{provider}.csv"), rows, findings);
        }
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

/// Two prices of one key: neither is known to be the one that holds, least of all the lower.
fn prices_twice(file: &str, rows: &[Row<PriceRow>], findings: &mut Vec<Finding>) {
    let mut seen: HashMap<_, &Row<PriceRow>> = HashMap::new();
    for row in rows {
        let Some(first) = seen.insert(row.value.key(), row) else { continue };
        let PriceRow { instance_type, region, market, .. } = &row.value;
        let same = first.value.usd == row.value.usd;
        let usd = |row: &PriceRow| row.usd.map_or("nothing".to_string(), |usd| usd.to_string());
        let differ = if same {
            String::new()
        } else {
            format!(", at {} USD rather than {}", usd(&first.value), usd(&row.value))
        };
        let message = format!("{instance_type} in {region}, {} is on line {} too{differ}", market.name(), first.line);
        findings.push(Finding::error("duplicate_key", (file, row.line), message, "keep the newer of the two"));
    }
}

/// Why a row cannot be: the kind of the finding, and words.
pub type Fault = (&'static str, String);

fn rows<T: DeserializeOwned>(
    file: &str,
    text: &str,
    fault: fn(&T) -> Option<Fault>,
    findings: &mut Vec<Finding>,
) -> Vec<Row<T>> {
    let text = text.trim_start_matches('\u{feff}');
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
    let mut lines = LineCounter::new(text);
    loop {
        match reader.read_record(&mut record) {
            Ok(false) => return read,
            Ok(true) => {
                let line = lines.line_of(&record);
                let found = control(&record, &headers).map(|why| ("control_character", why));
                let row = match found {
                    Some(found) => Err(found),
                    None => record
                        .deserialize::<T>(Some(&headers))
                        .map_err(|error| ("unreadable", data_file::with_nearest_key(&cause(&error, &headers)))),
                };
                match row.and_then(|value| fault(&value).map_or(Ok(value), Err)) {
                    Ok(value) => read.push(Row { line, value }),
                    Err((kind, message)) => {
                        let remedy = match kind {
                            "non_positive_price" => "leave usd empty where the price is not known",
                            _ => "correct the row",
                        };
                        findings.push(Finding::error(kind, (file, line), message, remedy));
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

/// A field that a terminal would act on rather than show.
fn control(record: &csv::StringRecord, headers: &csv::StringRecord) -> Option<String> {
    // Most rows have none: one look at all of the row.
    if !record.as_slice().chars().any(is_control) {
        return None;
    }
    let (index, field) = record.iter().enumerate().find(|(_, field)| field.chars().any(is_control))?;
    let column = headers.get(index).unwrap_or("a field");
    Some(format!("{}: `{}` has a control character in it", shown(column), shown(field)))
}

/// What a row could not be read for, with the name of the column.
fn cause(error: &csv::Error, headers: &csv::StringRecord) -> String {
    let csv::ErrorKind::Deserialize { err, .. } = error.kind() else { return error.to_string() };
    let column = err.field().and_then(|field| headers.get(field as usize));
    column.map_or(err.kind().to_string(), |column| format!("{column}: {}", err.kind()))
}
