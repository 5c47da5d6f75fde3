//! Fields of a row of CSV by the names of their columns; every error names the column.

use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;

/// A row.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a>(pub &'a HashMap<String, String>);

impl<'a> Columns<'a> {
    /// A field that every file has.
    pub fn text(&self, name: &str) -> Result<&'a str, String> {
        self.0.get(name).map(String::as_str).ok_or_else(|| format!("column `{name}` is missing"))
    }

    /// A field that files of older programs have not.
    pub fn later(&self, name: &str) -> &'a str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// A field that every file has, read.
    pub fn parsed<T: FromStr<Err: Display>>(&self, name: &str) -> Result<T, String> {
        parsed(name, self.text(name)?)
    }

    /// A field that every file has and that may be empty, read.
    pub fn needed<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, String> {
        self.text(name).and_then(|_| self.optional(name))
    }

    /// A field that may be empty or, in files of older programs, not there.
    pub fn optional<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, String> {
        match self.later(name) {
            "" => Ok(None),
            text => parsed(name, text).map(Some),
        }
    }
}

/// `text` of the column `name`, read.
pub fn parsed<T: FromStr<Err: Display>>(name: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|e| format!("column `{name}`: {e}"))
}
