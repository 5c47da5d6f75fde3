//! Reading the project's data files: an error names the file, the line and the nearest known key.

pub mod bounded;

use serde::de::DeserializeOwned;
use thiserror::Error;

/// A data file that could not be read, in words that say where and what to change.
#[derive(Debug, Error)]
#[error("{file}:{line}: {message}")]
pub struct DataFileError {
    /// The file, as the user named it or as it is called inside of the binary.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what to do about it.
    pub message: String,
}

/// Parses the text of the TOML file `file`. Unknown keys are errors where `T` denies them.
pub fn parse_toml<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, DataFileError> {
    toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = 1 + text.as_bytes()[..offset].iter().filter(|b| **b == b'\n').count();
        DataFileError { file: file.to_string(), line, message: with_nearest_key(error.message()) }
    })
}

/// Adds `did you mean` to serde's "unknown field `x`, expected one of `a`, `b`".
pub fn with_nearest_key(message: &str) -> String {
    let message = message.trim().replace('\n', " ");
    let is_unknown = message.contains("unknown field") || message.contains("unknown variant");
    let mut quoted = message.split('`').skip(1).step_by(2);
    match (is_unknown, quoted.next()) {
        (true, Some(unknown)) => match nearest(unknown, quoted) {
            Some(known) => format!("{message}; did you mean `{known}`?"),
            None => message,
        },
        _ => message,
    }
}

/// The name among `known` that is closest to `name`, if one is close enough to be a slip of the pen.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&name.to_lowercase(), candidate), candidate))
        .filter(|(similarity, _)| *similarity > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Thing {
        hidden_size: usize,
    }

    #[test]
    fn an_unknown_key_names_file_line_and_nearest_key() {
        let error = parse_toml::<Thing>("a.toml", "# a comment\nhiden_size = 3\n").unwrap_err();
        assert_eq!(error.line, 2);
        let text = error.to_string();
        assert!(text.starts_with("a.toml:2: unknown field `hiden_size`"), "{text}");
        assert!(text.ends_with("did you mean `hidden_size`?"), "{text}");
    }

    #[test]
    fn a_broken_file_names_its_line() {
        let error = parse_toml::<Thing>("a.toml", "\n\nhidden_size = \n").unwrap_err();
        assert_eq!(error.line, 3);
    }
}
