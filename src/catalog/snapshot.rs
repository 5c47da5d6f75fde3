//! A catalog that was fetched or imported, as a folder: replaced whole, with a header that says how each provider came by
//! its prices.

use super::adopt::Outcome;
use super::tables::{Files, Tables};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// snapshot.json.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// When it was written.
    pub generated_at: Timestamp,
    /// The program that wrote it.
    pub generated_by: String,
    /// By provider, the last outcome and the last good one.
    pub providers: BTreeMap<String, State>,
}

/// How a provider came by its prices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The last try.
    pub last: Outcome,
    /// The last try that was taken.
    pub last_ok: Option<Outcome>,
}

/// Reads the header of a folder; one that cannot be read counts as none.
pub fn header(folder: &Path) -> Option<Header> {
    serde_json::from_str(&fs::read_to_string(folder.join("snapshot.json")).ok()?).ok()
}

/// The header after these outcomes.
fn next(old: Option<Header>, outcomes: &[Outcome]) -> Header {
    let mut providers = old.map_or(BTreeMap::new(), |header| header.providers);
    for outcome in outcomes {
        let before = providers.get(&outcome.provider).and_then(|state: &State| state.last_ok.clone());
        let last_ok = if outcome.error.is_none() { Some(outcome.clone()) } else { before };
        providers.insert(outcome.provider.clone(), State { last: outcome.clone(), last_ok });
    }
    Header {
        generated_at: Timestamp::now(),
        generated_by: concat!("sizewell ", env!("CARGO_PKG_VERSION")).to_string(),
        providers,
    }
}

fn named(path: &Path) -> impl Fn(io::Error) -> io::Error + '_ {
    move |e| io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}

fn put(path: &Path, text: &str) -> io::Result<()> {
    let write = || -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(named(path))
}

/// Writes a folder in the place of `folder`: beside it first, and then in one step, so that a reader sees the old one or
/// the new one. Whatever fails, the old one stays.
pub fn write(folder: &Path, tables: &Tables, outcomes: &[Outcome]) -> io::Result<()> {
    let files: Files = tables.write().map_err(io::Error::other)?;
    let parent = folder.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(named(parent))?;
    let beside = tempfile::Builder::new().prefix(".catalog-").tempdir_in(parent).map_err(named(parent))?;
    for place in ["shapes", "prices"] {
        fs::create_dir(beside.path().join(place))?;
    }
    for (name, text) in &files {
        put(&beside.path().join(name), text)?;
    }
    let header = next(header(folder), outcomes);
    put(&beside.path().join("snapshot.json"), &serde_json::to_string_pretty(&header).map_err(io::Error::other)?)?;
    swap(beside.path(), folder).map_err(named(folder))
}

/// Exchanges two folders, or moves the first to where nothing is.
fn swap(new: &Path, place: &Path) -> io::Result<()> {
    if !place.exists() {
        return fs::rename(new, place);
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        if renameat_with(CWD, new, CWD, place, RenameFlags::EXCHANGE).is_ok() {
            return Ok(());
        }
    }
    // Not every file system can exchange: the old one steps aside for a moment.
    let aside: PathBuf = place.with_extension("old");
    fs::rename(place, &aside)?;
    match fs::rename(new, place) {
        Ok(()) => fs::remove_dir_all(&aside),
        Err(error) => fs::rename(&aside, place).and(Err(error)),
    }
}
