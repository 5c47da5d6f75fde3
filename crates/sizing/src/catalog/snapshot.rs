//! A catalog that was fetched or imported, as a folder: replaced whole, with a header that says how each provider came by
//! its prices.

use super::adopt::Outcome;
use super::carry;
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
        generated_at: crate::record::clock::now(),
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

/// A folder that a catalog can be written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogFolder {
    /// Where it really is, whatever links lead there.
    pub folder: PathBuf,
    /// Whether there is a catalog in it.
    pub is_catalog: bool,
}

/// Looks at a folder before a catalog is written to it: it is a catalog, it is empty, or it is not there. Anything else is
/// somebody's, and refused.
pub fn place(folder: &Path) -> Result<CatalogFolder, String> {
    let name = folder.display();
    let fail = |e: io::Error| format!("{name}: {e}; name another folder");
    let is_there = fs::symlink_metadata(folder).is_ok();
    let real =
        if is_there { folder.canonicalize().map_err(fail)? } else { std::path::absolute(folder).map_err(fail)? };
    if !is_there {
        return match real.file_name() {
            Some(_) => Ok(CatalogFolder { folder: real, is_catalog: false }),
            None => Err(format!("{name} is no name of a folder; name another")),
        };
    }
    if !real.is_dir() {
        return Err(format!("{name} is not a folder; name one"));
    }
    if std::env::current_dir().is_ok_and(|here| here.starts_with(&real)) {
        return Err(format!("{name} is replaced as a whole, and you are in it: run this from another folder"));
    }
    if fs::read_dir(&real).map_err(fail)?.next().is_none() {
        return Ok(CatalogFolder { folder: real, is_catalog: false });
    }
    let parts = [("accelerators.csv", false), ("shapes", true), ("prices", true)];
    for (part, is_folder) in parts {
        match fs::symlink_metadata(real.join(part)) {
            Ok(kind) if kind.is_symlink() => {
                return Err(format!(
                    "{part} in {name} is a symbolic link, and would become a {part} of its own: name the folder itself"
                ));
            }
            Ok(kind) if kind.is_dir() == is_folder => {}
            _ => {
                return Err(format!(
                    "{name} is not empty and not a catalog (there is no {part} in it): name a new folder"
                ));
            }
        }
    }
    Ok(CatalogFolder { folder: real, is_catalog: true })
}

/// Writes a folder in the place of `folder`: beside it first, with everything of the old one that is not the catalog's, and
/// then in one step, so that a reader sees the old one or the new one. Whatever fails, the old one stays.
pub fn write(folder: &Path, tables: &Tables, outcomes: &[Outcome]) -> io::Result<()> {
    let CatalogFolder { folder, is_catalog } = place(folder).map_err(io::Error::other)?;
    let files: Files = tables.write().map_err(io::Error::other)?;
    let parent = folder.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(named(parent))?;
    let beside = tempfile::Builder::new().prefix(".catalog-").tempdir_in(parent).map_err(named(parent))?;
    // The folder in the folder has the permissions that a new one gets, and not those of a private one.
    let new = beside.path().join("new");
    for place in [new.clone(), new.join("shapes"), new.join("prices")] {
        fs::create_dir(&place).map_err(named(&place))?;
    }
    for (name, text) in &files {
        put(&new.join(name), text)?;
    }
    let header = next(header(&folder), outcomes);
    put(&new.join("snapshot.json"), &serde_json::to_string_pretty(&header).map_err(io::Error::other)?)?;
    if is_catalog {
        carry::over(&folder, &new)?;
        fs::set_permissions(&new, fs::metadata(&folder)?.permissions()).map_err(named(&new))?;
    }
    let old = swap(&new, &folder, beside.path()).map_err(named(&folder))?;
    if let Some(old) = old
        && let Err(error) = carry::over(&old, &folder)
    {
        // Something that came into the old folder in the meantime, and cannot follow.
        let kept = beside.keep();
        return Err(io::Error::other(format!(
            "{error}; the catalog is written, the rest of the old one is in {}",
            kept.display()
        )));
    }
    Ok(())
}

/// Puts a new folder in a place; the path of the one that was there, if there was one. `aside` is a folder for what has to
/// step aside.
fn swap(new: &Path, place: &Path, aside: &Path) -> io::Result<Option<PathBuf>> {
    if fs::symlink_metadata(place).is_err() {
        return fs::rename(new, place).map(|()| None);
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        if renameat_with(CWD, new, CWD, place, RenameFlags::EXCHANGE).is_ok() {
            return Ok(Some(new.to_path_buf()));
        }
    }
    // Not every file system can exchange: the old one steps aside for a moment.
    let old = aside.join("old");
    fs::rename(place, &old)?;
    match fs::rename(new, place) {
        Ok(()) => Ok(Some(old)),
        Err(error) => fs::rename(&old, place).and(Err(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::load::embedded_files;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    fn tables() -> Tables {
        Tables::read("", &embedded_files()).0
    }

    /// The texts and link targets of a folder by their paths, links not followed.
    fn everything(folder: &Path) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        let mut folders = vec![folder.to_path_buf()];
        while let Some(next) = folders.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                let kind = fs::symlink_metadata(&path).unwrap();
                let name = path.strip_prefix(folder).unwrap().to_path_buf();
                if kind.is_symlink() {
                    found.insert(name, format!("-> {}", fs::read_link(&path).unwrap().display()));
                } else if kind.is_dir() {
                    folders.push(path);
                    found.insert(name, "folder".to_string());
                } else if kind.is_file() {
                    found.insert(name, fs::read_to_string(&path).unwrap());
                }
            }
        }
        found
    }

    #[test]
    fn what_is_not_the_catalogs_stays() {
        let work = tempfile::tempdir().unwrap();
        let (folder, outside) = (work.path().join("catalog"), work.path().join("outside"));
        write(&folder, &tables(), &[]).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("thesis.txt"), "x").unwrap();
        fs::create_dir_all(folder.join("own/more")).unwrap();
        for (name, text) in [
            ("README.md", "mine"),
            ("own/8xh100.toml", "y"),
            ("own/more/z", "z"),
            ("prices/notes.txt", "n"),
            ("list.csv", "a,b"),
        ] {
            fs::write(folder.join(name), text).unwrap();
        }
        symlink(&outside, folder.join("link")).unwrap();
        symlink("nowhere", folder.join("own/broken")).unwrap();
        fs::set_permissions(folder.join("own"), fs::Permissions::from_mode(0o750)).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let before = everything(&folder);
        let inode = fs::metadata(folder.join("README.md")).unwrap().ino();
        let mut less = tables();
        less.prices.remove("lambda");
        write(&folder, &less, &[]).unwrap();
        let after = everything(&folder);
        for (name, text) in before {
            let gone = name == Path::new("prices/lambda.csv");
            assert_eq!(!after.contains_key(&name), gone, "{}", name.display());
            if !gone && name != Path::new("snapshot.json") {
                assert_eq!(after[&name], text, "{}", name.display());
            }
        }
        assert_eq!(fs::read_to_string(outside.join("thesis.txt")).unwrap(), "x");
        assert_eq!(fs::metadata(folder.join("README.md")).unwrap().ino(), inode, "no byte was moved");
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::metadata(folder.join("own")).unwrap().permissions().mode() & 0o777, 0o750);
        assert_eq!(fs::read_dir(work.path()).unwrap().count(), 2, "nothing is left beside it");
    }

    #[test]
    fn a_folder_that_is_not_a_catalog_is_refused_and_left() {
        let work = tempfile::tempdir().unwrap();
        let folder = work.path().join("D");
        fs::create_dir_all(folder.join("chapters")).unwrap();
        fs::write(folder.join("thesis.txt"), "x").unwrap();
        fs::write(folder.join("chapters/1"), "one").unwrap();
        let before = everything(&folder);
        for named in [folder.clone(), folder.join("../D/."), work.path().join("link")] {
            let _ = symlink(&folder, work.path().join("link"));
            assert!(place(&named).unwrap_err().contains("not empty and not a catalog"));
            assert!(write(&named, &tables(), &[]).is_err());
        }
        fs::write(folder.join("accelerators.csv"), "mine\n1\n").unwrap();
        assert!(place(&folder).unwrap_err().contains("no shapes"));
        fs::remove_file(folder.join("accelerators.csv")).unwrap();
        assert_eq!(everything(&folder), before);
        assert!(place(&folder.join("thesis.txt")).unwrap_err().contains("not a folder"));
        assert!(place(&work.path().join("new")).is_ok_and(|place| !place.is_catalog));
        fs::create_dir(work.path().join("empty")).unwrap();
        assert!(place(&work.path().join("empty")).is_ok_and(|place| !place.is_catalog));
    }

    #[test]
    fn a_link_to_a_catalog_is_written_through_and_stays_a_link() {
        let work = tempfile::tempdir().unwrap();
        let (real, link) = (work.path().join("big/disk"), work.path().join("catalog"));
        write(&real, &tables(), &[]).unwrap();
        symlink(&real, &link).unwrap();
        fs::write(real.join("note"), "n").unwrap();
        write(&link, &tables(), &[]).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(real.join("note")).unwrap(), "n");
        // Parts of a catalog that are elsewhere would be cut off from there.
        fs::rename(real.join("prices"), work.path().join("elsewhere")).unwrap();
        symlink(work.path().join("elsewhere"), real.join("prices")).unwrap();
        assert!(place(&link).unwrap_err().contains("symbolic link"));
    }

    #[test]
    fn where_something_cannot_be_taken_along_the_old_one_stays_whole() {
        let work = tempfile::tempdir().unwrap();
        let folder = work.path().join("catalog");
        write(&folder, &tables(), &[]).unwrap();
        fs::write(folder.join("note"), "n").unwrap();
        let socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
        let before = everything(&folder);
        let mut less = tables();
        less.prices.remove("lambda");
        let error = write(&folder, &less, &[]).unwrap_err().to_string();
        assert!(error.contains("socket") && error.contains("neither a file nor a folder"), "{error}");
        assert_eq!(everything(&folder), before);
        assert_eq!(fs::read_dir(work.path()).unwrap().count(), 1, "nothing is left beside it");
        drop(socket);
    }

    #[test]
    fn where_folders_cannot_be_exchanged_one_steps_aside() {
        let work = tempfile::tempdir().unwrap();
        let at = |name: &str| work.path().join(name);
        for name in ["new", "place", "aside"] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join(name), name).unwrap();
        }
        let old = swap(&at("new"), &at("place"), &at("aside")).unwrap().unwrap();
        assert!(at("place").join("new").exists() && old.join("place").exists());
    }
}
