//! What of a file the system keeps in memory, and making it forget.

use std::fs::File;
use std::io;
use std::path::PathBuf;

/// Makes the system forget the contents of `files`: everything that it keeps where this process may say so, else what
/// `posix_fadvise` lets go of. The name of what was done.
pub fn evict(files: &[PathBuf]) -> io::Result<&'static str> {
    // What has not been written yet cannot be forgotten.
    for path in files {
        File::open(path)?.sync_all()?;
    }
    #[cfg(target_os = "linux")]
    {
        if std::fs::write("/proc/sys/vm/drop_caches", "1").is_ok() {
            return Ok("drop_caches");
        }
        for path in files {
            rustix::fs::fadvise(File::open(path)?, 0, None, rustix::fs::Advice::DontNeed)?;
        }
        Ok("posix_fadvise")
    }
    #[cfg(not(target_os = "linux"))]
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no way to empty the page cache"))
}

/// Share of the bytes of `files` that is in memory; `None` where the system does not say.
pub fn cached_fraction(files: &[PathBuf]) -> Option<f64> {
    let (mut cached, mut pages) = (0usize, 0usize);
    for path in files {
        let (c, p) = resident_pages(&File::open(path).ok()?)?;
        (cached, pages) = (cached + c, pages + p);
    }
    (pages > 0).then(|| cached as f64 / pages as f64)
}

#[cfg(target_os = "linux")]
fn resident_pages(file: &File) -> Option<(usize, usize)> {
    use std::os::fd::AsRawFd;
    let length = file.metadata().ok()?.len() as usize;
    if length == 0 {
        return Some((0, 0));
    }
    let pages = length.div_ceil(rustix::param::page_size());
    let mut states = vec![0u8; pages];
    // SAFETY: a fresh read-only mapping of the whole file, which nothing reads through, is asked for its pages and given
    // back; `states` has a byte for each.
    unsafe {
        let map = libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0);
        if map == libc::MAP_FAILED {
            return None;
        }
        let asked = libc::mincore(map, length, states.as_mut_ptr().cast());
        libc::munmap(map, length);
        (asked == 0).then(|| (states.iter().filter(|state| *state & 1 == 1).count(), pages))
    }
}

#[cfg(not(target_os = "linux"))]
fn resident_pages(_file: &File) -> Option<(usize, usize)> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_just_written_is_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, vec![7u8; 1 << 20]).unwrap();
        let files = [path];
        if let Some(fraction) = cached_fraction(&files) {
            assert!((0.0..=1.0).contains(&fraction));
        }
        assert!(cached_fraction(&[PathBuf::from("/nowhere")]).is_none());
        assert!(evict(&[PathBuf::from("/nowhere")]).is_err());
    }
}
