//! Which catalog is used: the one that is named, the one that was fetched last, or the one that the program carries.

use crate::catalog::{Catalog, Offer};
use crate::cli::{console, today};
use jiff::civil::Date;
use std::path::{Path, PathBuf};

/// Folder of the catalog that `catalog update` and `catalog import` write: `$SIZEWELL_CATALOG`, else
/// `$XDG_DATA_HOME/sizewell/catalog`, else `~/.local/share/sizewell/catalog`. `None` where there is no home.
pub(crate) fn fetched() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = set("SIZEWELL_CATALOG") {
        return Some(folder);
    }
    let data = set("XDG_DATA_HOME").filter(|p| p.is_absolute());
    let data = data.or_else(|| Some(set("HOME")?.join(".local/share")))?;
    Some(data.join("sizewell/catalog"))
}

/// The folder of the catalog that is used; `None` is the one that the program carries.
pub(crate) fn folder(named: Option<&Path>) -> Option<PathBuf> {
    named.map(Path::to_path_buf).or_else(|| fetched().filter(|folder| folder.join("accelerators.csv").exists()))
}

/// The catalog that is used.
pub(crate) fn load_catalog(named: Option<&Path>) -> anyhow::Result<Catalog> {
    let catalog = match folder(named) {
        Some(folder) => Catalog::from_folder(&folder)?,
        None => Catalog::embedded()?,
    };
    if let Some(warning) = clock_warning(&catalog, today()) {
        console::line(&warning);
    }
    Ok(catalog)
}

/// What to know where prices are from days that have not been yet: their ages cannot be told.
fn clock_warning(catalog: &Catalog, today: Date) -> Option<String> {
    let later = |offer: &&Offer| offer.observed_at.is_some() && offer.age_days(today).is_none();
    let newest = catalog.offers.iter().filter(later).max_by_key(|offer| offer.observed_at)?;
    let seen = newest.observed_at?;
    Some(format!(
        "warning: it is {today} by the clock of this machine, and the price of {} is of {seen}: correct the one that is \
         wrong; until then the ages of such prices are not known",
        newest.name()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn a_clock_that_is_behind_is_said_and_makes_nothing_younger() {
        let catalog = Catalog::embedded().unwrap();
        assert_eq!(clock_warning(&catalog, date(2026, 11, 24)), None);
        assert_eq!(clock_warning(&catalog, date(9999, 12, 31)), None);
        let unset = date(1970, 1, 1);
        assert!(clock_warning(&catalog, unset).is_some_and(|why| why.contains("1970-01-01") && why.contains("clock")));
        assert!(catalog.offers.iter().all(|offer| offer.age_days(unset).is_none()));
        let offer = catalog.offers.iter().find(|offer| offer.observed_at.is_some()).unwrap();
        let seen = offer.observed_at.unwrap();
        assert_eq!(offer.age_days(seen), Some(0));
        assert_eq!(offer.age_days(seen.yesterday().unwrap()), Some(0), "it is tomorrow there already");
        assert_eq!(offer.age_days(Date::MAX).map(|days| days > 2_900_000), Some(true));
    }
}
