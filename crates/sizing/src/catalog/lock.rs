//! One writer of a catalog folder at a time: who comes second waits, and then sees what the first has written.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Held by the process that changes a catalog folder. The lock is a file beside the folder, which is replaced whole and so
/// cannot hold it; the file goes with the lock, and a killed process leaves no lock behind.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

/// The file that stands for the lock of a folder.
fn path_of(folder: &Path) -> io::Result<PathBuf> {
    let name = folder.file_name().ok_or_else(|| io::Error::other("it is no name of a folder"))?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".lock");
    Ok(folder.with_file_name(hidden))
}

/// Whether the file that was opened is still the one of that name: who had it before may have taken it away.
fn is_current(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let of = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(open), Ok(there)) => of(open) == of(there),
        _ => false,
    }
}

impl Lock {
    /// Waits for the lock of a folder; `say` is told once where there is something to wait for.
    pub fn of(folder: &Path, say: impl FnOnce(&Path)) -> io::Result<Self> {
        let path = path_of(folder)?;
        let fail = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(fail)?;
        }
        let mut say = Some(say);
        loop {
            let link = std::fs::symlink_metadata(&path).is_ok_and(|meta| !meta.is_file());
            if link {
                return Err(fail(io::Error::other("it is not a file; take it away")));
            }
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(fail)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    if let Some(say) = say.take() {
                        say(folder);
                    }
                    file.lock().map_err(fail)?;
                }
                Err(TryLockError::Error(error)) => return Err(fail(error)),
            }
            if is_current(&file, &path) {
                return Ok(Self { file, path });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is still locked, so that nobody else's goes.
        let _ = std::fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn one_at_a_time_and_nothing_is_left() {
        let work = tempfile::tempdir().unwrap();
        let folder = work.path().join("deep/catalog");
        let (inside, waited) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let lock = Lock::of(&folder, |_| {
                            waited.fetch_add(1, Ordering::Relaxed);
                        })
                        .unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::sleep(std::time::Duration::from_micros(200));
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        assert!(waited.load(Ordering::Relaxed) > 0);
        assert_eq!(std::fs::read_dir(work.path().join("deep")).unwrap().count(), 0);
    }
}
