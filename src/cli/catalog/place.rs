//! Which catalog is used: the one that is named, the one that was fetched last, or the one that the program carries.

use crate::catalog::Catalog;
use std::path::{Path, PathBuf};

/// Folder of the catalog that `catalog update` and `catalog import` write: `$SIZEWELL_CATALOG`, else
/// `$XDG_DATA_HOME/sizewell/catalog`, else `~/.local/share/sizewell/catalog`. `None` where there is no home.
pub fn fetched() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = set("SIZEWELL_CATALOG") {
        return Some(folder);
    }
    let data = set("XDG_DATA_HOME").filter(|p| p.is_absolute());
    let data = data.or_else(|| Some(set("HOME")?.join(".local/share")))?;
    Some(data.join("sizewell/catalog"))
}

/// The folder of the catalog that is used; `None` is the one that the program carries.
pub fn folder(named: Option<&Path>) -> Option<PathBuf> {
    named.map(Path::to_path_buf).or_else(|| fetched().filter(|folder| folder.join("accelerators.csv").exists()))
}

/// The catalog that is used.
pub fn load_catalog(named: Option<&Path>) -> anyhow::Result<Catalog> {
    Ok(match folder(named) {
        Some(folder) => Catalog::from_folder(&folder)?,
        None => Catalog::embedded()?,
    })
}
