//! What stands in a catalog folder and is not the catalog's: notes, own/, a README. It goes into the new folder as it is,
//! without a symbolic link being followed and without a byte being moved twice.

use super::tables::FILES;
use std::fs;
use std::io;
use std::path::Path;

/// Whether a file is one that a catalog is written as.
fn is_own(inside: &Path) -> bool {
    let mut parts = inside.iter().map(|part| part.to_string_lossy());
    match (parts.next().as_deref(), parts.next(), parts.next()) {
        (Some("snapshot.json"), None, None) => true,
        (Some(file), None, None) => FILES.contains(&file),
        (Some("shapes" | "prices"), Some(file), None) => file.ends_with(".csv"),
        _ => false,
    }
}

/// Brings what is not the catalog's from the old folder into the new one, where it is not yet. Files become further links to
/// the same bytes, or copies where that cannot be.
pub(crate) fn over(old: &Path, new: &Path) -> io::Result<()> {
    folder(old, new, Path::new(""))
}

fn folder(old: &Path, new: &Path, inside: &Path) -> io::Result<()> {
    let from = old.join(inside);
    for entry in fs::read_dir(&from).map_err(|e| named(&from, e))? {
        let entry = entry.map_err(|e| named(&from, e))?;
        let inside = inside.join(entry.file_name());
        if is_own(&inside) {
            continue;
        }
        let (from, to) = (old.join(&inside), new.join(&inside));
        one(&from, &to, || folder(old, new, &inside)).map_err(|e| named(&from, e))?;
    }
    Ok(())
}

fn one(from: &Path, to: &Path, inside: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let kind = fs::symlink_metadata(from)?;
    let there = fs::symlink_metadata(to).ok();
    if kind.is_dir() {
        if there.is_none() {
            fs::create_dir(to)?;
        }
        inside()?;
        return if there.is_none() { fs::set_permissions(to, kind.permissions()) } else { Ok(()) };
    }
    if there.is_some() {
        return Ok(());
    }
    if kind.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(from)?, to);
    }
    if !kind.is_file() {
        return Err(io::Error::other("it is neither a file nor a folder and cannot be taken along; take it away"));
    }
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(|_| ()))
}

fn named(path: &Path, error: io::Error) -> io::Error {
    let said = error.to_string();
    let path = path.display().to_string();
    // The innermost path is the one that says most.
    if said.starts_with(&path) || said.starts_with('/') {
        error
    } else {
        io::Error::new(error.kind(), format!("{path}: {said}"))
    }
}
