//! Reading what strangers wrote: never more of it than fits, however little its packed form is.

use std::fmt::Display;
use std::io::Read;
use std::path::Path;

/// Most bytes of a file of text, unpacked. The largest that tools publish (all requests of a run, with their texts) are
/// near half of it.
pub const MOST_TEXT: u64 = 256 << 20;
/// So many times its packed size is what no file of results unpacks to; one letter repeated packs to a thousandth.
const MOST_RATIO: u64 = 250;
/// Below this size the ratio says nothing.
const SMALL: u64 = 16 << 20;
/// What is read at once.
const PART: usize = 1 << 16;

/// All that a reader has, unless it is more than `most` bytes. The memory taken follows what was read.
pub fn all(reader: impl Read, most: u64) -> Result<Vec<u8>, String> {
    unpacked(reader, most, u64::MAX / MOST_RATIO)
}

/// All that a reader unpacks from `packed` bytes, unless it is more than `most`, or so much more than it was packed to as
/// only a file made to fill memory is.
pub fn unpacked(mut reader: impl Read, most: u64, packed: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut part = vec![0; PART];
    loop {
        let read = match reader.read(&mut part) {
            Ok(0) => return Ok(bytes),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.to_string()),
        };
        let size = (bytes.len() + read) as u64;
        if size > most {
            return Err(too_large(most));
        }
        if size > SMALL && size / MOST_RATIO > packed {
            let times = size / packed.max(1);
            return Err(format!("it unpacks to more than {times} times its size, as no file of results does"));
        }
        bytes.extend_from_slice(&part[..read]);
    }
}

fn too_large(most: u64) -> String {
    format!("it has more than {}, which is the most that is read of such a file: split it", bytes(most))
}

fn bytes(count: u64) -> String {
    match count {
        0..1_048_576 => format!("{} KiB", count >> 10),
        _ => format!("{} MiB", count >> 20),
    }
}

/// The bytes of a file of at most `most` bytes.
pub fn file(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let opened = std::fs::File::open(path).map_err(|e| e.to_string())?;
    // A directory opens, and fails only when it is read.
    if opened.metadata().is_ok_and(|data| data.is_dir()) {
        return Err("it is a folder".to_string());
    }
    all(opened, most)
}

/// The text of a file of at most `most` bytes; a byte order mark at its start is not part of it.
pub fn text(path: &Path, most: u64) -> Result<String, String> {
    utf8(file(path, most)?)
}

/// Bytes as the text that they are, without a byte order mark; the error names the line and what else they may be.
pub fn utf8(mut bytes: Vec<u8>) -> Result<String, String> {
    if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] = bytes.as_slice() {
        return utf16(&bytes);
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let line = 1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count();
        not_utf8(line, bytes[at], bytes.contains(&0))
    })
}

fn not_utf8(line: usize, byte: u8, zeros: bool) -> String {
    if zeros {
        format!("it is not a file of text (byte 0x{byte:02x} on line {line})")
    } else {
        format!(
            "byte 0x{byte:02x} on line {line} is not UTF-8: the file is in Latin-1 or another code page; save it as UTF-8 \
             (iconv -f latin1 -t utf-8)"
        )
    }
}

/// What PowerShell writes behind `>`.
fn utf16(bytes: &[u8]) -> Result<String, String> {
    let little = bytes[0] == 0xff;
    let unit = |pair: &[u8]| {
        if little { u16::from_le_bytes([pair[0], pair[1]]) } else { u16::from_be_bytes([pair[0], pair[1]]) }
    };
    let pairs = bytes[2..].chunks_exact(2);
    let broken = |why: &dyn Display| format!("it begins as UTF-16 and {why}: save it as UTF-8");
    if !pairs.remainder().is_empty() {
        return Err(broken(&"has an odd number of bytes"));
    }
    char::decode_utf16(pairs.map(unit)).collect::<Result<String, _>>().map_err(|_| broken(&"is not that further on"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives bytes without end, and counts them.
    struct Endless(u64);

    impl Read for &mut Endless {
        fn read(&mut self, part: &mut [u8]) -> std::io::Result<usize> {
            part.fill(b'a');
            self.0 += part.len() as u64;
            Ok(part.len())
        }
    }

    #[test]
    fn what_has_no_end_is_read_as_far_as_the_bound_and_no_further() {
        let mut source = Endless(0);
        let error = all(&mut source, 5 << 20).unwrap_err();
        assert_eq!(error, "it has more than 5 MiB, which is the most that is read of such a file: split it");
        assert_eq!(source.0, (5 << 20) + PART as u64);
    }

    #[test]
    fn what_unpacks_to_far_more_than_it_was_is_stopped_before_the_bound() {
        let mut source = Endless(0);
        let error = unpacked(&mut source, 256 << 20, 100_000).unwrap_err();
        assert!(error.contains("more than 250 times its size"), "{error}");
        assert!(source.0 < 26 << 20, "{}", source.0);
        assert_eq!(unpacked(&b"abc"[..], 3, 0).unwrap(), b"abc", "small files may pack well");
    }

    #[test]
    fn texts_of_other_code_pages_are_read_or_named() {
        assert_eq!(utf8(b"\xef\xbb\xbfa".to_vec()).unwrap(), "a");
        assert_eq!(utf8(b"\xff\xfea\0\xe9\0".to_vec()).unwrap(), "a\u{e9}");
        assert_eq!(utf8(b"\xfe\xff\0a\0\xe9".to_vec()).unwrap(), "a\u{e9}");
        assert!(utf8(b"\xff\xfea".to_vec()).unwrap_err().contains("odd number of bytes"));
        assert!(utf8(b"\xff\xfe\x00\xd8".to_vec()).unwrap_err().contains("UTF-16"));
        let latin = utf8(b"a\nb \xe9".to_vec()).unwrap_err();
        assert!(latin.starts_with("byte 0xe9 on line 2 is not UTF-8: the file is in Latin-1"), "{latin}");
        assert!(utf8(b"\0\xe9".to_vec()).unwrap_err().contains("not a file of text"));
    }

    #[test]
    fn a_folder_and_an_endless_file_are_errors() {
        assert_eq!(file(&std::env::temp_dir(), 10).unwrap_err(), "it is a folder");
        if Path::new("/dev/zero").exists() {
            assert!(text(Path::new("/dev/zero"), 1 << 20).unwrap_err().contains("more than 1 MiB"));
        }
    }
}
