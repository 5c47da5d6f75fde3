//! The bytes of a list as rows: how letters are written, what stands between fields, where a row begins.

use super::mapping::{Encoding, Mapping};
use crate::catalog::text::{self, LineCounter};
use crate::data_file::bounded;
use std::collections::BTreeMap;

/// Characters of the bytes 0x80 to 0x9f in windows-1252; the others are those of Latin-1.
const WINDOWS: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘', '’',
    '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];
/// What may stand between fields.
const DELIMITERS: [char; 4] = [',', ';', '\t', '|'];

/// The letters of a file: UTF-8 or UTF-16 with its mark, or what the mapping says. The error names the line.
pub fn decode(bytes: Vec<u8>, encoding: Option<Encoding>) -> Result<String, String> {
    let marked = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    if encoding == Some(Encoding::Windows1252) && !marked {
        let letter = |byte: &u8| match byte {
            0x80..=0x9f => WINDOWS[usize::from(byte - 0x80)],
            _ => char::from(*byte),
        };
        return Ok(bytes.iter().map(letter).collect());
    }
    let text = bounded::utf8(bytes).map_err(|why| {
        if why.contains("Latin-1") { format!("{why}, or set encoding = \"windows-1252\" in the mapping") } else { why }
    })?;
    match text.split_once('\0') {
        Some((before, _)) => Err(format!(
            "line {}: there is a zero byte in it; save the list as UTF-8",
            1 + before.matches('\n').count()
        )),
        None => Ok(text),
    }
}

/// The rows of a list.
pub(crate) struct PriceList {
    /// Where the columns are, by name.
    at: BTreeMap<String, usize>,
    rows: Vec<(usize, csv::StringRecord)>,
}

/// One row under the names of the mapping.
#[derive(Clone, Copy)]
pub(crate) struct Line<'a> {
    record: &'a csv::StringRecord,
    at: &'a BTreeMap<String, usize>,
    /// Where it begins, from 1.
    pub line: usize,
}

impl<'a> Line<'a> {
    /// What stands in a column; nothing where there is no such column.
    pub(crate) fn text(&self, column: Option<&String>) -> &'a str {
        column.and_then(|name| self.record.get(*self.at.get(name)?)).unwrap_or("").trim()
    }

    /// An error of this row.
    pub(crate) fn at(&self, what: impl std::fmt::Display) -> String {
        format!("line {}: {what}", self.line)
    }
}

impl PriceList {
    /// Reads all rows. The error names the line.
    pub(crate) fn read(text: &str, mapping: &Mapping) -> Result<Self, String> {
        let (said, text, above) = said_delimiter(text);
        let delimiter = delimiter(text, mapping, said)?;
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .has_headers(false)
            .flexible(true)
            .from_reader(text.as_bytes());
        let mut records = reader.records();
        let header = match records.next() {
            Some(header) => header.map_err(|e| e.to_string())?,
            None => return Err("the list is empty".to_string()),
        };
        let at = columns(&header, mapping, delimiter)?;
        let mut rows = Vec::new();
        let mut lines = LineCounter::new(text);
        for record in records {
            let record = record.map_err(|e| e.to_string())?;
            let line = above + lines.line_of(&record);
            if record.iter().all(|field| field.trim().is_empty()) {
                continue;
            }
            let (has, should) = (record.len(), header.len());
            let surplus = record.iter().skip(should).any(|field| !field.trim().is_empty());
            if has < should || surplus {
                let hint = if has > should && delimiter == b',' {
                    "; a decimal comma in a list with commas needs quotes around the number"
                } else {
                    "; correct the row"
                };
                return Err(format!("line {line} has {has} fields and the header {should}{hint}"));
            }
            rows.push((line, record));
        }
        let sheet = Self { at, rows };
        let fault = sheet.lines().find_map(|line| odd_text(&line, mapping));
        fault.map_or(Ok(sheet), Err)
    }

    /// The rows below the header.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.rows.iter().map(|(line, record)| Line { record, at: &self.at, line: *line })
    }

    /// The first of these names that is one of a column, whatever its capitals.
    pub(crate) fn column_named(&self, names: &[&str]) -> Option<&String> {
        self.at.keys().find(|column| names.contains(&column.to_lowercase().as_str()))
    }
}

/// A first line `sep=;`, as spreadsheets write it; the text below it, and how many lines that leaves out.
fn said_delimiter(text: &str) -> (Option<char>, &str, usize) {
    let first = text.lines().next().unwrap_or("").trim_matches('"');
    let sign = first.strip_prefix("sep=").map(|sign| sign.chars().next().unwrap_or('\t'));
    match sign {
        Some(sign) => (Some(sign), text.split_once('\n').map_or("", |(_, rest)| rest), 1),
        None => (None, text, 0),
    }
}

/// What stands between fields: the sign under which the header has the columns of the mapping.
fn delimiter(text: &str, mapping: &Mapping, said: Option<char>) -> Result<u8, String> {
    if let Some(sign) = mapping.delimiter.or(said) {
        return u8::try_from(sign).ok().filter(u8::is_ascii).ok_or(format!("`{sign}` cannot stand between fields"));
    }
    let wanted = mapping.columns.named();
    let found = |sign: &char| {
        let mut reader =
            csv::ReaderBuilder::new().delimiter(*sign as u8).has_headers(false).from_reader(text.as_bytes());
        let header = reader.records().next().and_then(Result::ok).unwrap_or_default();
        let names: Vec<&str> = header.iter().map(str::trim).collect();
        wanted.iter().filter(|name| names.contains(*name)).count()
    };
    // The comma where none is better: what is missing is then said in the terms of the file.
    let best = DELIMITERS.iter().rev().max_by_key(|sign| found(sign)).copied().unwrap_or(',');
    Ok(best as u8)
}

fn columns(header: &csv::StringRecord, mapping: &Mapping, delimiter: u8) -> Result<BTreeMap<String, usize>, String> {
    let mut at: BTreeMap<String, usize> = BTreeMap::new();
    let wanted = mapping.columns.named();
    for (index, name) in header.iter().map(str::trim).enumerate() {
        if at.insert(name.to_string(), index).is_some() && wanted.contains(&name) {
            return Err(format!("line 1: two columns are called `{name}`; rename one of them"));
        }
    }
    match wanted.into_iter().find(|name| !at.contains_key(*name)) {
        None => Ok(at),
        Some(missing) => {
            let known: Vec<String> = at.keys().filter(|name| !name.is_empty()).map(|name| text::shown(name)).collect();
            let between = match delimiter {
                b',' => String::new(),
                other => format!(" between {:?}", char::from(other)),
            };
            Err(format!("line 1: there is no column `{missing}`; the file has {}{between}", known.join(", ")))
        }
    }
}

/// Text that a terminal or a spreadsheet would not only show.
fn odd_text(line: &Line<'_>, mapping: &Mapping) -> Option<String> {
    let columns = &mapping.columns;
    let names =
        [Some(&columns.instance_type), columns.region.as_ref(), columns.zone.as_ref(), columns.accelerator.as_ref()];
    let texts = names.into_iter().flatten().map(|column| (column, line.text(Some(column))));
    let of_text = texts.filter_map(|(column, cell)| Some((column, cell, text::fault(cell)?))).next();
    let (column, cell, why) = of_text.or_else(|| {
        let price = &columns.price;
        let cell = line.text(Some(price));
        cell.chars().any(text::is_control).then_some((price, cell, "has a control character in it"))
    })?;
    Some(line.at(format!("`{}` in {column} {why}; correct the row", text::shown(cell))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_read_as_they_were_written() {
        let utf16 = |big: bool| -> Vec<u8> {
            let unit = |u: u16| if big { u.to_be_bytes() } else { u.to_le_bytes() };
            "\u{feff}München;€".encode_utf16().flat_map(unit).collect()
        };
        assert_eq!(decode(utf16(false), None).unwrap(), "München;€");
        assert_eq!(decode(utf16(true), None).unwrap(), "München;€");
        assert_eq!(decode("\u{feff}a".into(), None).unwrap(), "a");
        let latin = b"SKU\nM\xfcnchen \x80";
        assert!(decode(latin.to_vec(), None).unwrap_err().contains("on line 2 is not UTF-8"));
        assert_eq!(decode(latin.to_vec(), Some(Encoding::Windows1252)).unwrap(), "SKU\nMünchen €");
        assert!(decode(b"S\0K\0U\0".to_vec(), None).unwrap_err().contains("zero byte"));
        assert!(decode(vec![0xff, 0xfe, 0x41], None).unwrap_err().contains("UTF-16"));
    }
}
