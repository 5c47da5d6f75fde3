//! Writing files so that nobody sees half of one, and so that no link leads elsewhere: a name in a run folder may be a
//! symbolic link that somebody left there, and what it points at is not ours to overwrite.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// An error where `path` is a symbolic link, whether or not it leads anywhere.
pub fn refuse_link(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_symlink() => {
            let target = fs::read_link(path).unwrap_or_default();
            Err(io::Error::other(format!(
                "is a symbolic link to {}, which is not followed: remove it, or choose another place",
                target.display()
            )))
        }
        _ => Ok(()),
    }
}

/// Opens a file without following a link.
pub fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    refuse_link(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // Between the look and the opening another may put a link there.
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
    }
    options.open(path)
}

/// A new and empty file in the place of one that is there, if any; other names of that keep their contents.
pub fn create(path: &Path) -> io::Result<File> {
    refuse_link(path)?;
    create_over(path)
}

/// Writes a file beside its place, syncs it, and renames it into place: whole or not at all.
pub fn write(path: &Path, contents: &[u8]) -> io::Result<()> {
    refuse_link(path)?;
    let temporary = beside(path);
    let written = put(&temporary, path, contents);
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn put(temporary: &Path, path: &Path, contents: &[u8]) -> io::Result<()> {
    // What a kill left there, or a link that somebody did, goes; nothing is written through it.
    let mut file = create_over(temporary)?;
    file.write_all(contents)?;
    if let Ok(before) = fs::metadata(path) {
        fs::set_permissions(temporary, before.permissions())?;
    }
    file.sync_all()?;
    fs::rename(temporary, path)?;
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

fn create_over(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// The name that a file has until it is whole.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(".new");
    path.with_file_name(name)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_link_is_followed_and_other_names_keep_their_contents() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("thesis"), "mine").unwrap();
        symlink(at("thesis"), at("link")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        for name in ["link", "dangling"] {
            assert!(write(&at(name), b"x").unwrap_err().to_string().contains("is a symbolic link to"));
            assert!(create(&at(name)).is_err());
            assert!(open(&at(name), OpenOptions::new().create(true).append(true)).is_err());
        }
        symlink(at("thesis"), at("a.new")).unwrap();
        write(&at("a"), b"ours").unwrap();
        fs::hard_link(at("thesis"), at("b")).unwrap();
        create(&at("b")).unwrap();
        assert_eq!(fs::read(at("thesis")).unwrap(), b"mine");
        assert_eq!((fs::read(at("a")).unwrap(), at("nowhere").exists()), (b"ours".to_vec(), false));
    }
}
