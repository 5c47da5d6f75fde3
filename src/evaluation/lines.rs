//! Text as it stands in files: lines, or blocks of about a mebibyte. A byte order mark is none of it, and every end of
//! a line is `\n`, so that where a file was written does not change what a model makes of it. What is no UTF-8 text is
//! an error that names its line.

use super::data::{DataError, DataSet};
use std::borrow::Cow;
use std::io::{BufRead, Read};

/// Bytes of a line; a file that is not of lines is noticed by this.
const MOST_LINE: u64 = 16 << 20;
/// Bytes of text that are tokenized at once.
pub(super) const BLOCK: usize = 1 << 20;
/// Where a file begins, or where files were put behind each other.
const MARK: char = '\u{feff}';

/// The text without byte order marks at the beginnings of lines, every end of a line as `\n` (as Python opens texts).
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(['\r', MARK]) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    let mut begins = true;
    while let Some(next) = rest.next() {
        match next {
            MARK if begins => continue,
            '\r' => {
                rest.next_if_eq(&'\n');
                plain.push('\n');
            }
            other => plain.push(other),
        }
        begins = plain.ends_with('\n');
    }
    Cow::Owned(plain)
}

/// Why bytes that a file begins with are no UTF-8, where they say so themselves.
fn other_encoding(first: &[u8]) -> Option<String> {
    let name = match first {
        [0xFF, 0xFE, 0, 0, ..] | [0, 0, 0xFE, 0xFF, ..] => "UTF-32",
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => "UTF-16",
        _ => return None,
    };
    Some(format!("is {name} text (its first bytes say so); make it UTF-8: iconv -f {name} -t UTF-8"))
}

fn has_nul() -> String {
    "has a NUL byte, which no text has: this is something else, or UTF-16 (iconv -f UTF-16LE -t UTF-8)".to_string()
}

fn not_utf8() -> String {
    "is not UTF-8 text; if it is in an older encoding, such as Latin-1: iconv -f LATIN1 -t UTF-8".to_string()
}

/// Lines, one after the other.
pub(super) struct Lines<'a> {
    pub set: &'a DataSet,
    pub reader: Box<dyn BufRead + Send>,
    /// The one that was read last, from 1.
    pub line: usize,
}

impl Lines<'_> {
    /// The next line that is not blank; `None` at the end.
    pub(crate) fn next_line(&mut self) -> Result<Option<String>, DataError> {
        loop {
            let mut bytes = Vec::new();
            self.line += 1;
            let fail = |line: usize, message: String| self.set.fail(line, message);
            let mut limited = self.reader.by_ref().take(MOST_LINE);
            let read = limited.read_until(b'\n', &mut bytes).map_err(|e| fail(self.line, e.to_string()))?;
            if read == 0 {
                return Ok(None);
            }
            if let Some(why) = other_encoding(&bytes).filter(|_| self.line == 1) {
                return Err(fail(0, why));
            }
            if read as u64 == MOST_LINE && bytes.last() != Some(&b'\n') {
                return Err(fail(self.line, "the line is longer than 16 MiB".to_string()));
            }
            if bytes.contains(&0) {
                return Err(fail(self.line, format!("the line {}", has_nul())));
            }
            let text = String::from_utf8(bytes).map_err(|_| fail(self.line, format!("the line {}", not_utf8())))?;
            let text = text.trim_start_matches(MARK).trim();
            if !text.is_empty() {
                return Ok(Some(text.to_string()));
            }
        }
    }
}

/// Blocks of text, one after the other.
pub struct Blocks<'a> {
    set: &'a DataSet,
    reader: Box<dyn BufRead + Send>,
    /// What was read behind the last cut.
    rest: Vec<u8>,
    /// Ends of lines in the blocks so far.
    lines: usize,
    begun: bool,
    ended: bool,
}

impl<'a> Blocks<'a> {
    pub(super) fn new(set: &'a DataSet, reader: Box<dyn BufRead + Send>) -> Self {
        Self { set, reader, rest: Vec::new(), lines: 0, begun: false, ended: false }
    }

    fn text(&mut self, bytes: Vec<u8>) -> Result<String, DataError> {
        let before = self.lines;
        let line_of = |at: usize| before + 1 + line_ends(&bytes[..at]);
        if let Some(why) = other_encoding(&bytes).filter(|_| !self.begun) {
            return Err(self.set.fail(0, why));
        }
        self.begun = true;
        if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
            return Err(self.set.fail(line_of(at), has_nul()));
        }
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => plain(text).into_owned(),
            Err(error) => return Err(self.set.fail(line_of(error.valid_up_to()), not_utf8())),
        };
        self.lines += text.bytes().filter(|byte| *byte == b'\n').count();
        Ok(text)
    }
}

/// How many lines end in `bytes`: by `\n`, by `\r\n`, or by `\r` alone.
fn line_ends(bytes: &[u8]) -> usize {
    let ends = |pair: &[u8]| pair[0] == b'\n' || (pair[0] == b'\r' && pair[1] != b'\n');
    let last = bytes.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r'));
    bytes.windows(2).filter(|pair| ends(pair)).count() + usize::from(last)
}

impl Iterator for Blocks<'_> {
    type Item = Result<String, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let mut bytes = std::mem::take(&mut self.rest);
        let more = (BLOCK - bytes.len().min(BLOCK)) as u64;
        match self.reader.by_ref().take(more).read_to_end(&mut bytes) {
            Err(error) => {
                self.ended = true;
                return Some(Err(self.set.fail(0, error)));
            }
            Ok(read) if (read as u64) < more => self.ended = true,
            Ok(_) => self.rest = bytes.split_off(cut(&bytes)),
        }
        if bytes.is_empty() {
            return None;
        }
        let text = self.text(bytes);
        self.ended |= text.is_err();
        Some(text)
    }
}

/// Where a full block is cut: behind its last line, or before its last space, or before a character that is not whole.
fn cut(bytes: &[u8]) -> usize {
    let behind_line = bytes.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
    let before_space = || bytes.iter().rposition(|byte| *byte == b' ').filter(|at| *at > 0);
    let before_character = || bytes.iter().rposition(|byte| *byte & 0xC0 != 0x80).filter(|at| *at > 0);
    behind_line.or_else(before_space).or_else(before_character).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::data::DataSet;

    fn blocks(bytes: Vec<u8>) -> Vec<Result<String, DataError>> {
        // A set that cannot be read is refused when it is opened; here it is read all the same.
        let set = DataSet::unread("x.txt", bytes.leak());
        set.blocks().unwrap().collect()
    }

    #[test]
    fn blocks_are_the_whole_text() {
        for text in ["", "short", &"a line of it\n".repeat(200_000), &"word ".repeat(400_000), &"é".repeat(1_100_000)]
        {
            let blocks: Vec<String> = blocks(text.as_bytes().to_vec()).into_iter().map(Result::unwrap).collect();
            assert_eq!(blocks.concat(), text);
            assert!(blocks.iter().all(|block| !block.is_empty() && block.len() <= BLOCK));
        }
    }

    #[test]
    fn marks_and_ends_of_lines_do_not_matter() {
        assert_eq!(plain("a\u{feff}b"), "a\u{feff}b", "within a line it is a character");
        let lines = "a line of it\nand another\n\nend".repeat(100_000);
        for other in [
            format!("\u{feff}{lines}"),
            lines.replace('\n', "\r\n"),
            lines.replace('\n', "\r"),
            format!("\u{feff}\u{feff}{}", lines.replace("end", "end\n\u{feff}").replace('\n', "\r\n")),
        ] {
            let expected =
                if other.matches('\u{feff}').count() > 2 { lines.replace("end", "end\n") } else { lines.clone() };
            let read: String = blocks(other.into_bytes()).into_iter().map(Result::unwrap).collect();
            assert!(read == expected, "{:?} {:?}", &read[..40], &expected[..40]);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_an_error_with_its_line() {
        let utf16: Vec<u8> = "\u{feff}one\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (bytes, line, said) in [
            (b"abc\xff\xfe".to_vec(), 1, "not UTF-8"),
            (b"a\r\nb\rc\nGer\xe4t".to_vec(), 4, "LATIN1"),
            (b"a\nb\0c\n".to_vec(), 2, "NUL byte"),
            (utf16.clone(), 0, "is UTF-16"),
            (utf16[2..].to_vec(), 1, "NUL byte"),
            (["line\n".repeat(300_000).as_bytes(), b"\xe4"].concat(), 300_001, "not UTF-8"),
        ] {
            let found = blocks(bytes).pop().unwrap().unwrap_err();
            assert_eq!((found.line, found.message.contains(said)), (line, true), "{found}");
        }
    }
}
