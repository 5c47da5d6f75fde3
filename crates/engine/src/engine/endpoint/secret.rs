//! The key of an endpoint: it comes from the environment and goes into one header, and nowhere else. Secrets of an address or
//! of a body are hidden in the same way.

use hyper::header::HeaderValue;
use std::fmt;

/// What stands where a key was.
const HIDDEN: &str = "[key]";
/// Servers repeat the beginning of a key that they refuse.
const BEGINNING: usize = 6;

/// Names of secrets, in lower case and without what joins words.
const NAMES: [&str; 20] = [
    "key",
    "apikey",
    "accesskey",
    "secretkey",
    "subscriptionkey",
    "ocpapimsubscriptionkey",
    "token",
    "accesstoken",
    "authtoken",
    "apitoken",
    "auth",
    "authorization",
    "password",
    "passwd",
    "pwd",
    "secret",
    "clientsecret",
    "sig",
    "signature",
    "code",
];
/// A value of letters and digits that is as long may be a secret whatever it is called.
const LONG: usize = 20;
/// A shorter value is no secret that could be told from other words.
const SHORT: usize = 4;

/// Whether a value of this name is a secret.
pub(crate) fn is_secret(name: &str, value: &str) -> bool {
    let plain: String = name.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect();
    let has = |test: fn(&char) -> bool| value.chars().any(|c| test(&c));
    let looks_like_one = value.len() >= LONG
        && value.chars().all(|c| c.is_ascii_alphanumeric() || "-_%+/=".contains(c))
        && has(char::is_ascii_digit)
        && has(char::is_ascii_alphabetic);
    NAMES.contains(&plain.as_str()) || looks_like_one || value.starts_with("sk-")
}

/// A key. It cannot be printed.
#[derive(Clone)]
pub struct Key(String);

impl Key {
    /// The key in the environment variable `name`; an error names the variable only, and not even that where it may be a key
    /// itself.
    pub fn from_environment(name: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(plain) || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err("--api-key-env takes the name of an environment variable, not the key itself".to_string());
        }
        let Ok(value) = std::env::var(name) else {
            return Err(format!("there is no environment variable {name}: set it to the key, then run again"));
        };
        let key = value.trim();
        let key = key.strip_prefix("Bearer ").unwrap_or(key).trim();
        match key {
            "" => Err(format!("the environment variable {name} is empty")),
            key if key.contains(|c: char| c.is_whitespace() || c == '"' || c == '\'') => {
                Err(format!("the environment variable {name} holds quotes or blanks, which no key has"))
            }
            key => Ok(Self(key.to_string())),
        }
    }

    /// A secret that is known from elsewhere; `None` where it is too short to be told from other words.
    pub fn hiding(value: &str) -> Option<Self> {
        (value.len() >= SHORT).then(|| Self(value.to_string()))
    }

    /// The header that carries it.
    pub(super) fn header(&self) -> Result<HeaderValue, String> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0))
            .map_err(|_| "the key has characters that no header can carry".to_string())?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// A name, address or argument for the record, without the key where somebody put it there too: a server can call its
    /// model as its key. A short key is looked for as a whole word only, as it may be a part of any name.
    pub fn hidden_in_name(&self, text: &str) -> String {
        if self.0.len() >= BEGINNING {
            return text.replace(&self.0, HIDDEN);
        }
        let ends = |c: char| !(c.is_alphanumeric() || "-_.".contains(c));
        text.split_inclusive(ends)
            .map(|part| match part.trim_end_matches(ends) {
                word if word == self.0 => part.replacen(word, HIDDEN, 1),
                _ => part.to_string(),
            })
            .collect()
    }

    /// `text` with the key, and any word that begins like it, taken out.
    pub(super) fn hidden_in(&self, text: &str) -> String {
        let mut hidden = text.replace(&self.0, HIDDEN);
        let Some(beginning) = self.0.get(..BEGINNING).filter(|_| self.0.len() > BEGINNING) else { return hidden };
        let mut from = 0;
        while let Some(at) = hidden[from..].find(beginning).map(|at| from + at) {
            let rest = &hidden[at..];
            let end = rest.find(|c: char| c.is_whitespace() || "\"',;)".contains(c)).unwrap_or(rest.len());
            hidden.replace_range(at..at + end.max(beginning.len()), HIDDEN);
            from = at + HIDDEN.len();
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
        assert_eq!(key.hidden_in_name("org/sk-abcdef123456:8b"), "org/[key]:8b");
        assert_eq!(key.hidden_in_name("sk-abcde"), "sk-abcde");
        assert_eq!(Key("abc".to_string()).hidden_in_name("abc/abcd --x=abc"), "[key]/abcd --x=[key]");
        // Nothing that a key can be makes it search for ever.
        assert_eq!(Key("\"quoted".to_string()).hidden_in("no \"quote*"), "no [key]*");
        assert_eq!(Key("[key][key]x".to_string()).hidden_in("[key][ke"), "[key]");
        for bad in ["sk-proj-hunter2", "", "1A", "A B"] {
            let error = Key::from_environment(bad).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
