//! The key of an endpoint: it comes from the environment and goes into one header, and nowhere else.

use hyper::header::HeaderValue;
use std::fmt;

/// What stands where a key was.
const HIDDEN: &str = "[key]";
/// Servers repeat the beginning of a key that they refuse.
const BEGINNING: usize = 6;

/// A key. It cannot be printed.
#[derive(Clone)]
pub struct Key(String);

impl Key {
    /// The key in the environment variable `name`; the error names the variable only.
    pub fn from_environment(name: &str) -> Result<Self, String> {
        match std::env::var(name) {
            Ok(key) if !key.trim().is_empty() => Ok(Self(key.trim().to_string())),
            Ok(_) => Err(format!("the environment variable {name} is empty")),
            Err(_) => Err(format!("there is no environment variable {name}: set it to the key, then run again")),
        }
    }

    /// The header that carries it.
    pub(super) fn header(&self) -> Result<HeaderValue, String> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0))
            .map_err(|_| "the key has characters that no header can carry".to_string())?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// `text` with the key, and any word that begins like it, taken out.
    pub(super) fn hidden_in(&self, text: &str) -> String {
        let mut hidden = text.replace(&self.0, HIDDEN);
        let Some(beginning) = self.0.get(..BEGINNING).filter(|_| self.0.len() > BEGINNING) else { return hidden };
        while let Some(at) = hidden.find(beginning) {
            let rest = &hidden[at..];
            let end = rest.find(|c: char| c.is_whitespace() || "\"',;)".contains(c)).unwrap_or(rest.len());
            hidden.replace_range(at..at + end, HIDDEN);
        }
        hidden
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_out_of_what_servers_say() {
        let key = Key("sk-abcdef123456".to_string());
        assert_eq!(key.hidden_in("bad key: sk-abcdef123456."), "bad key: [key].");
        assert_eq!(
            key.hidden_in("Incorrect API key provided: sk-abcd****3456. See"),
            "Incorrect API key provided: [key] See"
        );
        assert_eq!(format!("{key:?}"), "[key]");
        assert_eq!(Key("ab".to_string()).hidden_in("cab"), "c[key]");
    }
}
