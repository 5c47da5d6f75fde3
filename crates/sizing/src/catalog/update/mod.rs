//! Live prices from public lists into a new snapshot. A provider whose list cannot be fetched, or whose prices do not
//! pass the check, keeps what it had; the others are not held up.

pub mod aws;
pub mod azure;
pub mod gpuhunt;
pub mod http;
pub mod skypilot;

use super::adopt::{self, Fetched, Outcome};
use super::alias::Aliases;
use super::shape::ShapeRow;
use super::tables::Tables;
use jiff::civil::Date;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Public lists of prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum List {
    /// prices.azure.com, paged JSON.
    Azure,
    /// AWS price list, CSV of gigabytes.
    Aws,
    /// What gpuhunt collects and publishes, a zip of CSV files.
    Gpuhunt,
    /// What SkyPilot collects and publishes, CSV files.
    Skypilot,
}

impl List {
    /// All, those of providers themselves first.
    pub const ALL: [List; 4] = [List::Azure, List::Aws, List::Gpuhunt, List::Skypilot];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Azure => "azure",
            Self::Aws => "aws",
            Self::Gpuhunt => "gpuhunt",
            Self::Skypilot => "skypilot",
        }
    }

    /// Where it is published.
    pub fn endpoint(self) -> &'static str {
        match self {
            Self::Azure => "https://prices.azure.com",
            Self::Aws => "https://pricing.us-east-1.amazonaws.com",
            Self::Gpuhunt => "https://dstack-gpu-pricing.s3.eu-west-1.amazonaws.com",
            Self::Skypilot => "https://raw.githubusercontent.com/skypilot-org/skypilot-catalog/master",
        }
    }

    /// The providers of the catalog that it has prices of.
    pub fn providers(self) -> Vec<&'static str> {
        match self {
            Self::Azure => vec!["azure"],
            Self::Aws => vec!["aws"],
            Self::Gpuhunt => gpuhunt::FILES.iter().map(|(provider, _)| *provider).collect(),
            Self::Skypilot => skypilot::CLOUDS.iter().map(|(provider, _)| *provider).collect(),
        }
    }
}

/// What to fetch.
#[derive(Debug, Clone)]
pub struct Request {
    /// Lists, in the order in which they are asked for a provider.
    pub lists: Vec<List>,
    /// Only these providers; empty is all of the lists.
    pub providers: Vec<String>,
    /// Only these regions; empty is those that the catalog has of a provider.
    pub regions: Vec<String>,
    /// Addresses that stand in for the public ones.
    pub endpoints: BTreeMap<List, String>,
    /// Most time of one answer.
    pub timeout: Duration,
    /// The day.
    pub today: Date,
}

/// What a list needs to know to be read.
pub struct Context<'a> {
    /// Where it is.
    pub endpoint: String,
    /// How to ask.
    pub http: &'a http::Client,
    /// The provider.
    pub provider: &'a str,
    /// Shapes that are known of it, by type.
    pub shapes: &'a BTreeMap<String, ShapeRow>,
    /// Regions that are wanted; empty is all.
    pub regions: &'a BTreeSet<String>,
    /// Names of accelerators.
    pub aliases: &'a Aliases<'a>,
    /// The day.
    pub today: Date,
}

impl Context<'_> {
    /// Whether a region is wanted.
    pub fn wants(&self, region: &str) -> bool {
        self.regions.is_empty() || region == "any" || self.regions.contains(region)
    }
}

/// Why a row of a list was passed over that has not the fields of its header, or text where a number belongs.
const UNREADABLE: &str = "a row that cannot be read";

/// A row of a list; `None` where only this one cannot be read.
fn readable<T>(row: Result<T, csv::Error>) -> Result<Option<T>, String> {
    match row {
        Ok(row) => Ok(Some(row)),
        Err(error) => match error.kind() {
            csv::ErrorKind::Deserialize { .. }
            | csv::ErrorKind::UnequalLengths { .. }
            | csv::ErrorKind::Utf8 { .. } => Ok(None),
            _ => Err(error.to_string()),
        },
    }
}

/// Whether a list has its columns.
fn columns(header: &csv::StringRecord, needed: &[&str]) -> Result<(), String> {
    match needed.iter().find(|name| !header.iter().any(|column| column == **name)) {
        None => Ok(()),
        Some(missing) => Err(format!("there is no column {missing}: another list, or another version of it")),
    }
}

/// Fetches, and adopts into `tables` what passes the check. One outcome for each provider and list that was tried.
pub fn update(tables: &mut Tables, request: &Request, mut say: impl FnMut(String)) -> Vec<Outcome> {
    let http = http::Client::new(request.timeout);
    let mut outcomes = Vec::new();
    let mut done: BTreeSet<String> = BTreeSet::new();
    for list in &request.lists {
        for provider in list.providers() {
            let wanted = request.providers.is_empty() || request.providers.iter().any(|p| p == provider);
            if !wanted || done.contains(provider) {
                continue;
            }
            say(format!("{provider}: asking {}", list.name()));
            let outcome = match fetch(*list, provider, tables, request, &http) {
                Ok(fetched) => adopt::adopt(tables, provider, fetched, request.today),
                Err(why) => Outcome::failed(provider, list.name(), why),
            };
            if outcome.error.is_none() {
                done.insert(provider.to_string());
            }
            say(outcome.to_string());
            outcomes.push(outcome);
        }
    }
    outcomes
}

fn fetch(
    list: List,
    provider: &str,
    tables: &Tables,
    request: &Request,
    http: &http::Client,
) -> Result<Fetched, String> {
    let shapes: BTreeMap<String, ShapeRow> = tables
        .shapes
        .get(provider)
        .into_iter()
        .flatten()
        .map(|row| (row.value.instance_type.clone(), row.value.clone()))
        .collect();
    let regions: BTreeSet<String> = if request.regions.is_empty() {
        tables.prices.get(provider).into_iter().flatten().map(|row| row.value.region.clone()).collect()
    } else {
        request.regions.iter().cloned().collect()
    };
    let aliases = Aliases::of(tables.accelerators.iter().map(|row| &row.value));
    let endpoint = request.endpoints.get(&list).cloned().unwrap_or(list.endpoint().to_string());
    let context = Context {
        endpoint: endpoint.trim_end_matches('/').to_string(),
        http,
        provider,
        shapes: &shapes,
        regions: &regions,
        aliases: &aliases,
        today: request.today,
    };
    match list {
        List::Azure => azure::fetch(&context),
        List::Aws => aws::fetch(&context),
        List::Gpuhunt => gpuhunt::fetch(&context),
        List::Skypilot => skypilot::fetch(&context),
    }
}
