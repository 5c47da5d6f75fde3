//! JSON as tools print it: an array, one object, one object a line, objects one behind the other, with lines of a log before,
//! between and behind them, and with Python's `NaN` and `Infinity`, which stand for a number that is not there.
//!
//! A record is cut out of the text before it is parsed, so that a broken one costs nothing but itself. The list around
//! records is another matter: where it is cut or has a comma too many, nobody can tell what is missing, and the file is
//! refused with the line.

use serde_json::Value;
use std::borrow::Cow;

/// Deepest nesting that is read; serde_json's own bound.
const DEEPEST: usize = 128;

/// What stands in a text.
#[derive(Debug, PartialEq)]
pub(crate) enum Item<'a> {
    /// The text of an object.
    Record(Cow<'a, str>),
    /// Something that is no record, and why.
    Bad(String),
    /// A line that is not JSON.
    Prose(&'a str),
}

/// A fault of the file as a whole: the line, and what is wrong.
pub(crate) type Fault = (usize, String);

/// Whether JSON records begin here: an object, or a list of objects. A log's `[2026-01-01 ...` and `{'a': 1}` are not that;
/// a bracket that has its line to itself opens a list, even if the next line is one of the log.
pub(crate) fn begins(text: &str) -> bool {
    let mut rest = text.bytes().filter(|byte| !byte.is_ascii_whitespace());
    match (rest.next(), rest.next()) {
        (Some(b'{'), second) => matches!(second, Some(b'"' | b'}') | None),
        (Some(b'['), Some(b'{' | b']') | None) => true,
        (Some(b'['), Some(_)) => text.lines().next().is_some_and(|line| line.trim() == "["),
        _ => false,
    }
}

/// Where the first line begins that JSON records begin with.
pub(crate) fn first(text: &str) -> Option<usize> {
    let mut at = 0;
    text.split_inclusive(['\n', '\r']).find_map(|line| {
        let start = at + (line.len() - line.trim_start().len());
        at += line.len();
        begins(&text[start..]).then_some(start).filter(|_| !line.trim().is_empty())
    })
}

/// The end of the value that begins at `start`, or where it breaks off.
enum Extent {
    /// Its end, and whether `NaN` or `Infinity` may be in it.
    Whole(usize, bool),
    /// Where it cannot go on, and why.
    Broken(usize, &'static str),
}

const CUT: &str = "EOF: the file ends in the middle of it";

fn extent(bytes: &[u8], start: usize) -> Extent {
    let (mut depth, mut at, mut bare) = (0_usize, start, false);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => match text_end(bytes, at) {
                Ok(end) => at = end,
                Err(broken) => return broken,
            },
            b'{' | b'[' => {
                depth += 1;
                if depth > DEEPEST {
                    return Extent::Broken(at, "it is nested more than 128 deep");
                }
            }
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Extent::Whole(at + 1, bare);
                }
            }
            b'N' | b'I' => bare = true,
            _ => {}
        }
        at += 1;
    }
    Extent::Broken(bytes.len(), CUT)
}

/// The place of the quotation mark that closes the text beginning at `start`.
fn text_end(bytes: &[u8], start: usize) -> Result<usize, Extent> {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return Ok(at),
            b'\\' => at += 1,
            // The last line may end in the middle of a text too.
            b'\n' if bytes[at..].trim_ascii_start().is_empty() => break,
            b'\n' => return Err(Extent::Broken(at, "a text in it is not closed on its line")),
            _ => {}
        }
        at += 1;
    }
    Err(Extent::Broken(bytes.len(), CUT))
}

/// A value without Python's numbers that are none: they become `null`.
fn standard(text: &str, bare: bool) -> Cow<'_, str> {
    if !bare {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let (mut out, mut kept, mut at) = (String::with_capacity(text.len()), 0, 0);
    while let Some(byte) = bytes.get(at) {
        let word = ["NaN", "-NaN", "Infinity", "-Infinity"]
            .into_iter()
            .find(|word| matches!(byte, b'N' | b'I' | b'-') && bytes[at..].starts_with(word.as_bytes()));
        match (byte, word) {
            (b'"', _) => at = text_end(bytes, at).unwrap_or(bytes.len()),
            (_, Some(word)) => {
                out.push_str(&text[kept..at]);
                out.push_str("null");
                at += word.len() - 1;
                kept = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    out.push_str(&text[kept.min(text.len())..]);
    Cow::Owned(out)
}

/// Scans a text and hands each record in it to a receiver with its line.
pub(crate) struct RecordScanner<'a, F> {
    text: &'a str,
    at: usize,
    /// The line of `counted`.
    line: usize,
    counted: usize,
    receive: F,
}

impl<'a, F: FnMut(usize, Item<'a>) -> Result<(), Fault>> RecordScanner<'a, F> {
    /// All that stands in `text`.
    pub(crate) fn all(text: &'a str, receive: F) -> Result<(), Fault> {
        let mut walk = Self { text, at: 0, line: 1, counted: 0, receive };
        while walk.skip_blanks() {
            match (walk.peek(), begins(&text[walk.at..])) {
                (Some(b'{'), true) => walk.object()?,
                (Some(b'['), true) => walk.list()?,
                _ => walk.prose()?,
            }
        }
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Whether something is left.
    fn skip_blanks(&mut self) -> bool {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
        self.at < self.text.len()
    }

    /// The line of a place that is not before the last one asked for.
    fn line_of(&mut self, at: usize) -> usize {
        let at = at.clamp(self.counted, self.text.len());
        self.line += self.text.as_bytes()[self.counted..at].iter().filter(|byte| **byte == b'\n').count();
        self.counted = at;
        self.line
    }

    /// The line of the last thing in the file.
    fn last_line(&self) -> usize {
        1 + self.text.trim_end().bytes().filter(|byte| *byte == b'\n').count()
    }

    fn give(&mut self, at: usize, item: Item<'a>) -> Result<(), Fault> {
        let line = self.line_of(at);
        (self.receive)(line, item)
    }

    /// The rest of the line is no JSON.
    fn prose(&mut self) -> Result<(), Fault> {
        let rest = &self.text[self.at..];
        let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let start = self.at;
        self.at += end;
        self.give(start, Item::Prose(rest[..end].trim()))
    }

    fn object(&mut self) -> Result<(), Fault> {
        let start = self.at;
        match extent(self.text.as_bytes(), start) {
            Extent::Whole(end, bare) => {
                self.at = end;
                self.give(start, Item::Record(standard(&self.text[start..end], bare)))
            }
            Extent::Broken(_, why) => {
                // The next record begins at the start of a line, if there is one.
                let next = self.text[start..].match_indices('\n').map(|(at, _)| start + at + 1);
                let next = next
                    .into_iter()
                    .find(|at| matches!(self.text.as_bytes().get(*at), Some(b'{' | b'[')) && begins(&self.text[*at..]));
                self.at = next.unwrap_or(self.text.len());
                match next {
                    Some(_) if why == CUT => self.give(start, Item::Bad("it is cut short".to_string())),
                    None if why == CUT => {
                        let line = self.last_line();
                        (self.receive)(line, Item::Bad(why.to_string()))
                    }
                    _ => self.give(start, Item::Bad(why.to_string())),
                }
            }
        }
    }

    fn list(&mut self) -> Result<(), Fault> {
        self.at += 1;
        let (mut whole, mut comma, mut first) = (0_usize, None, true);
        while self.skip_blanks() {
            let at = self.at;
            match self.peek() {
                Some(b']') => {
                    self.at += 1;
                    return match comma {
                        Some(comma) => Err((self.line_of(comma), "a comma with nothing behind it: remove it".into())),
                        None => Ok(()),
                    };
                }
                Some(b',') if first || comma.is_some() => {
                    return Err((self.line_of(at), "a comma with nothing before it: remove it".into()));
                }
                Some(b',') => {
                    comma = Some(at);
                    self.at += 1;
                }
                Some(b'{') if !first && comma.is_none() => {
                    return Err((self.line_of(at), "a comma is missing before this record".into()));
                }
                Some(_) => {
                    if self.element(whole)? {
                        (whole, comma, first) = (whole + 1, None, false)
                    } else {
                        self.prose()?
                    }
                }
                None => break,
            }
        }
        Err((self.last_line(), cut(whole)))
    }

    /// One element of a list; `false` where no element begins.
    fn element(&mut self, whole: usize) -> Result<bool, Fault> {
        let (start, bytes) = (self.at, self.text.as_bytes());
        let nested = match bytes[start] {
            b'{' => true,
            b'[' => {
                matches!(bytes[start + 1..].trim_ascii_start().first(), Some(b'{' | b'[' | b']' | b'"' | b'0'..=b'9'))
            }
            _ => false,
        };
        let end = if nested {
            match extent(bytes, start) {
                Extent::Whole(end, bare) => {
                    self.at = end;
                    let item = match bytes[start] {
                        b'{' => Item::Record(standard(&self.text[start..end], bare)),
                        _ => Item::Bad("it is not an object".to_string()),
                    };
                    self.give(start, item)?;
                    return Ok(true);
                }
                Extent::Broken(_, why) if why == CUT => return Err((self.last_line(), cut(whole))),
                Extent::Broken(at, why) => return Err((self.line_of(at), why.to_string())),
            }
        } else {
            scalar_end(bytes, start)
        };
        let Some(end) = end else { return Ok(false) };
        self.at = end;
        self.give(start, Item::Bad("it is not an object".to_string()))?;
        Ok(true)
    }
}

fn cut(whole: usize) -> String {
    format!(
        "EOF: the file ends in the middle of a list, behind {whole} whole records; copy it again, or close the list behind \
         the last whole one with ]"
    )
}

/// The end of a number, a word or a text that is an element of a list.
fn scalar_end(bytes: &[u8], start: usize) -> Option<usize> {
    let end = match bytes[start] {
        b'"' => text_end(bytes, start).ok()? + 1,
        _ => {
            start
                + bytes[start..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)).count()
        }
    };
    let text = std::str::from_utf8(&bytes[start..end]).ok()?;
    let known = matches!(text, "NaN" | "Infinity" | "-Infinity") || serde_json::from_str::<Value>(text).is_ok();
    let closed = matches!(bytes[end..].trim_ascii_start().first(), Some(b',' | b']'));
    (known && closed).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(text: &str) -> (Vec<(usize, String)>, Result<(), Fault>) {
        let mut seen = Vec::new();
        let end = RecordScanner::all(text, |line, item| {
            let said = match item {
                Item::Record(text) => format!("record {text}"),
                Item::Bad(why) => format!("bad {why}"),
                Item::Prose(text) => format!("prose {text}"),
            };
            seen.push((line, said));
            Ok(())
        });
        (seen, end)
    }

    fn said(text: &str) -> Vec<(usize, String)> {
        let (seen, end) = walk(text);
        assert_eq!(end, Ok(()));
        seen
    }

    fn lines(expected: &[(usize, &str)]) -> Vec<(usize, String)> {
        expected.iter().map(|(line, text)| (*line, text.to_string())).collect()
    }

    #[test]
    fn records_stand_in_every_form_that_tools_print() {
        let both = lines(&[(1, r#"record {"a":1}"#), (1, r#"record {"a":2}"#)]);
        assert_eq!(said(r#"[{"a":1},{"a":2}]"#), both);
        assert_eq!(said(r#"{"a":1}{"a":2}"#), both);
        assert_eq!(
            said("{\"a\":1}\r\n\r\n{\"a\":2}\r\n"),
            lines(&[(1, r#"record {"a":1}"#), (3, r#"record {"a":2}"#)])
        );
        assert_eq!(said("[]"), []);
        assert_eq!(said("[ {\"a\":[1,\n2]} , null, 3, [4] ]").len(), 4);
    }

    #[test]
    fn lines_of_a_log_are_passed_over_wherever_they_stand() {
        let text =
            "[2026-01-01] start\n{'a': 1}\n[\n load: 1 of 2\n{\"a\":1}\nload: 2, of 2\n,\n{\"a\":2}\n]\nbye {\"a\":3}";
        assert_eq!(
            said(text),
            lines(&[
                (1, "prose [2026-01-01] start"),
                (2, "prose {'a': 1}"),
                (4, "prose load: 1 of 2"),
                (5, r#"record {"a":1}"#),
                (6, "prose load: 2, of 2"),
                (8, r#"record {"a":2}"#),
                (10, r#"prose bye {"a":3}"#),
            ])
        );
        assert_eq!(first(text), Some(28));
        assert_eq!(first("a\n  [\n {\n"), Some(4));
        assert_eq!(first("a,b\n1,[2]\n"), None);
    }

    #[test]
    fn numbers_that_are_none_become_null_outside_of_texts() {
        let text = r#"{"a":NaN,"b":[-Infinity,Infinity],"c":"NaN \" -Infinity","d":-1}"#;
        assert_eq!(said(text), lines(&[(1, r#"record {"a":null,"b":[null,null],"c":"NaN \" -Infinity","d":-1}"#)]));
    }

    #[test]
    fn a_broken_record_among_lines_costs_itself_and_a_broken_list_its_file() {
        let text = "{\"a\":1}\n{\"a\":[1,\n{\"a\":\"x\n{\"a\":2}\n{\"a\":3";
        assert_eq!(
            said(text),
            lines(&[
                (1, r#"record {"a":1}"#),
                (2, "bad a text in it is not closed on its line"),
                (3, "bad a text in it is not closed on its line"),
                (4, r#"record {"a":2}"#),
                (5, "bad EOF: the file ends in the middle of it"),
            ])
        );
        let fault = |text: &str| walk(text).1.unwrap_err();
        assert_eq!(fault("[\n{\"a\":1},\n{\"a\":\n\n").0, 3);
        assert!(
            fault("[\n{\"a\":1},\n{\"a\":\n")
                .1
                .starts_with("EOF: the file ends in the middle of a list, behind 1 whole")
        );
        assert_eq!(fault("[\n{\"a\":1}\n").0, 2);
        assert_eq!(fault("[\n{\"a\":1},\n\n]"), (2, "a comma with nothing behind it: remove it".to_string()));
        assert_eq!(fault("[\n{\"a\":1},,{}]"), (2, "a comma with nothing before it: remove it".to_string()));
        assert_eq!(fault("[\n{\"a\":1}\n{}]"), (3, "a comma is missing before this record".to_string()));
        let deep = format!("[{{\"a\":{}", "[".repeat(1 << 20));
        assert_eq!(fault(&deep), (1, "it is nested more than 128 deep".to_string()));
    }

    #[test]
    fn many_broken_records_take_one_pass() {
        // Each would be looked for to the end of the file, were there no bound on depth.
        let text = "{\"a\":\n".repeat(200_000);
        assert_eq!(said(&text).len(), 200_000);
    }
}
