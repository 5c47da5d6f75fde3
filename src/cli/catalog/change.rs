//! `sizewell catalog update` and `import`: a new snapshot in the place of the old one.

use super::place;
use crate::catalog::adopt::{self, Outcome};
use crate::catalog::finding::Severity;
use crate::catalog::import::{self, Mapping};
use crate::catalog::load::{embedded_files, folder_files, prefix};
use crate::catalog::lock::Lock;
use crate::catalog::snapshot::{self, CatalogFolder};
use crate::catalog::tables::Tables;
use crate::catalog::update::{self, List, Request, http};
use crate::cli::console::Console;
use crate::cli::{Exit, output, today, usage};
use crate::data_file::{bounded, parse_toml};
use anyhow::Context;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Arguments of `catalog update`.
#[derive(Debug, clap::Args)]
pub(crate) struct UpdateArgs {
    /// Lists to ask, in this order.
    #[arg(long, value_delimiter = ',', value_name = "LIST,...", value_parser = ["azure", "aws", "gpuhunt", "skypilot"])]
    from: Vec<String>,
    /// Only these providers.
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    provider: Vec<String>,
    /// Only these regions; those that the catalog has by default.
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    region: Vec<String>,
    /// Longest time of one answer, in seconds. AWS's lists have hundreds of megabytes.
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    timeout: u64,
    /// Another address of a list, such as aws=https://mirror.example.
    #[arg(long, value_name = "LIST=URL")]
    endpoint: Vec<String>,
    /// Folder of the snapshot, rather than that of the user.
    #[arg(long, value_name = "DIR")]
    catalog: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments of `catalog import`.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// The price list, as CSV.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What its columns are, as TOML: see instance-catalog/README.md.
    #[arg(long, value_name = "FILE")]
    mapping: PathBuf,
    /// Folder of the snapshot, rather than that of the user.
    #[arg(long, value_name = "DIR")]
    catalog: Option<PathBuf>,
}

/// The tables to start from: the snapshot that is there, or what the program carries.
fn tables(place: &CatalogFolder) -> anyhow::Result<Tables> {
    let (origin, files) = if place.is_catalog {
        (place.folder.display().to_string(), folder_files(&place.folder)?)
    } else {
        ("embedded".to_string(), embedded_files())
    };
    let (tables, findings) = Tables::read(&prefix(&origin), &files);
    match findings.into_iter().find(|finding| finding.severity == Severity::Error) {
        None => Ok(tables),
        Some(finding) => anyhow::bail!("{finding}"),
    }
}

/// The folder to write, which is this process's alone from here on, and what is in it.
fn folder(named: Option<PathBuf>, console: &Console) -> anyhow::Result<(CatalogFolder, Lock)> {
    let Some(folder) = named.or_else(place::fetched) else {
        return usage("there is no home directory to keep prices in: name a folder with --catalog");
    };
    let look = || snapshot::place(&folder).or_else(usage);
    let real = look()?.folder;
    let waiting =
        |folder: &Path| console.say(format!("waiting for another sizewell that is changing {}", folder.display()));
    let lock = Lock::of(&real, waiting).context("the catalog cannot be locked")?;
    // Whoever had the lock before may have put a catalog there.
    Ok((look()?, lock))
}

/// Fetches prices. Exit status 1 where no provider could be updated.
pub(crate) fn update(args: UpdateArgs, console: &Console) -> anyhow::Result<Exit> {
    let named = |name: &str| List::ALL.into_iter().find(|list| list.name() == name);
    let mut endpoints = BTreeMap::new();
    for text in &args.endpoint {
        let parts = text.split_once('=').and_then(|(name, url)| Some((named(name)?, url)));
        let Some((list, url)) = parts else {
            return usage(format!("--endpoint: `{text}` is not like aws=https://mirror.example"));
        };
        http::check_endpoint(url).or_else(|why| usage(format!("--endpoint: {why}")))?;
        endpoints.insert(list, url.to_string());
    }
    let lists: Vec<List> = if args.from.is_empty() {
        List::ALL.to_vec()
    } else {
        args.from.iter().filter_map(|name| named(name)).collect()
    };
    if let Some(unknown) = args.provider.iter().find(|p| !lists.iter().any(|l| l.providers().contains(&p.as_str()))) {
        let mut known: Vec<&str> = lists.iter().flat_map(|list| list.providers()).collect();
        known.sort_unstable();
        known.dedup();
        return usage(format!("none of the lists has prices of `{unknown}`; there are {}", known.join(", ")));
    }
    let (place, _lock) = folder(args.catalog, console)?;
    let mut tables = tables(&place)?;
    let request = Request {
        lists,
        providers: args.provider,
        regions: args.region,
        endpoints,
        timeout: Duration::from_secs(args.timeout.max(1)),
        today: today(),
    };
    let outcomes = update::update(&mut tables, &request, |line| console.say(line));
    let taken = outcomes.iter().filter(|outcome| outcome.error.is_none()).count();
    write(&place.folder, &tables, &outcomes, console)?;
    if args.json {
        output::json(&outcomes)?;
    }
    if taken == 0 {
        anyhow::bail!("no provider could be updated; rankings use the prices that were there");
    }
    Ok(Exit::Done)
}

/// Takes a list of the user.
pub(crate) fn import(args: ImportArgs, console: &Console) -> anyhow::Result<Exit> {
    let name = args.mapping.display().to_string();
    let read = |path: &Path| {
        bounded::file(path, bounded::MOST_TEXT)
            .map_err(|why| anyhow::anyhow!("{} cannot be read: {why}", path.display()))
    };
    let of_list = |why: String| anyhow::anyhow!("{}: {why}", args.file.display());
    let text = import::decode(read(&args.mapping)?, None).map_err(|why| anyhow::anyhow!("{name}: {why}"))?;
    let mapping: Mapping = parse_toml(&name, &text)?;
    let list = import::decode(read(&args.file)?, mapping.encoding).map_err(of_list)?;
    let (place, _lock) = folder(args.catalog, console)?;
    let mut tables = tables(&place)?;
    let fetched = import::read(&mapping, &list, &tables, today()).map_err(of_list)?;
    let outcome = adopt::adopt(&mut tables, &mapping.provider, fetched, today());
    if let Some(why) = &outcome.error {
        anyhow::bail!("{}: {why}", args.file.display());
    }
    console.say(outcome.to_string());
    write(&place.folder, &tables, &[outcome], console)?;
    Ok(Exit::Done)
}

fn write(folder: &Path, tables: &Tables, outcomes: &[Outcome], console: &Console) -> anyhow::Result<()> {
    if outcomes.iter().all(|outcome| outcome.error.is_some()) {
        return Ok(());
    }
    snapshot::write(folder, tables, outcomes).context("the snapshot cannot be written; the old one is as it was")?;
    let name = folder.display();
    if place::fetched().and_then(|used| used.canonicalize().ok()).is_some_and(|used| used == folder) {
        console.say(format!("wrote {name}\nrankings use it from now on"))
    } else {
        console.say(format!("wrote {name}\n`--catalog {name}` ranks with it; other rankings do not use it"))
    }
    Ok(())
}
