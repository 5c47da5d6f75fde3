//! Where a server is: an address before `/v1`, or the whole address of one API. An address with a name and password is
//! refused, as it would stand in records; what looks like a secret in its query is sent and not written.

use super::body::Api;
use super::secret::{Key, is_secret};
use hyper::Uri;
use std::fmt;

/// What stands where a secret was.
const HIDDEN: &str = "[key]";
/// APIs that are not spoken here, by the ends of their addresses.
const OTHERS: [&str; 14] = [
    "/responses",
    "/messages",
    "/generate",
    "/generate_stream",
    "/completion",
    "/api/chat",
    "/embed",
    "/rerank",
    "/score",
    "/pooling",
    "/infer",
    "/predict",
    "/invocations",
    "/tokenize",
];

/// Scheme, host, and where its APIs are.
#[derive(Clone, PartialEq, Eq)]
pub struct Location {
    /// Scheme and authority.
    server: String,
    host: String,
    /// The path that APIs and the list of models stand below: `/v1`.
    root: String,
    /// The API whose whole address was given.
    api: Option<Api>,
    query: Option<String>,
}

/// A last part of a path that is a version: `v1`, `v4`, `v1beta`.
fn is_version(part: &str) -> bool {
    part.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

impl Location {
    /// Reads `http://host:8000`, `https://host/prefix/v1`, `https://host/api/v4/chat/completions?api-version=1`. The error does
    /// not repeat the address.
    pub fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.trim().parse().map_err(|_| "not an address such as http://127.0.0.1:8000".to_string())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err("an address begins with http:// or https://".to_string());
        };
        if !["http", "https"].contains(&scheme) {
            return Err(format!("{scheme}: is not http: or https:"));
        }
        if authority.as_str().contains('@') {
            return Err(
                "an address with a password would stand in the record: give the key in an environment variable \
                        (--api-key-env)"
                    .to_string(),
            );
        }
        let path = uri.path().trim_end_matches('/');
        if let Some(other) = OTHERS.iter().find(|other| path.ends_with(**other)) {
            return Err(format!(
                "{other} is an API that is not spoken here: give the address of /chat/completions, /completions or \
                 /embeddings, or what stands before /v1"
            ));
        }
        let given = [Api::Chat, Api::Completions, Api::Embeddings]
            .into_iter()
            .find_map(|api| Some((api, path.strip_suffix(api.ending())?)));
        let root = match given {
            Some((_, root)) => root.to_string(),
            None if path.rsplit('/').next().is_some_and(is_version) => path.to_string(),
            None => format!("{path}/v1"),
        };
        Ok(Self {
            server: format!("{scheme}://{authority}"),
            host: authority.host().to_string(),
            root,
            api: given.map(|(api, _)| api),
            query: uri.query().filter(|query| !query.is_empty()).map(str::to_string),
        })
    }

    /// The API that the address is of, where it is that of one.
    pub fn api(&self) -> Option<Api> {
        self.api
    }

    /// The address of an API.
    pub fn of(&self, api: Api) -> Result<Uri, String> {
        self.at(&format!("{}{}", self.root, api.ending()))
    }

    /// The address of the list of models.
    pub fn models(&self) -> Result<Uri, String> {
        self.at(&format!("{}/models", self.root))
    }

    /// The same without its query, where it has one.
    pub fn without_query(&self) -> Option<Self> {
        self.query.is_some().then(|| Self { query: None, ..self.clone() })
    }

    /// The address of a path beside the APIs, such as `/version`.
    pub fn beside(&self, path: &str) -> Result<Uri, String> {
        self.at(&format!("{}{path}", self.prefix()))
    }

    /// The path before the version.
    fn prefix(&self) -> &str {
        match self.root.rsplit_once('/') {
            Some((before, last)) if is_version(last) => before,
            _ => &self.root,
        }
    }

    fn at(&self, path: &str) -> Result<Uri, String> {
        let query = self.query.as_ref().map_or(String::new(), |query| format!("?{query}"));
        format!("{}{path}{query}", self.server).parse().map_err(|_| format!("{path} cannot be asked for there"))
    }

    /// The host.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The server is on this machine.
    pub fn is_local(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// What must stand nowhere: secrets of the query.
    pub fn secrets(&self) -> Vec<Key> {
        let query = self.query.as_deref().unwrap_or("");
        let secret = |part: &str| match part.split_once('=') {
            Some((name, value)) => is_secret(name, value).then(|| value.to_string()),
            None => is_secret("", part).then(|| part.to_string()),
        };
        query.split('&').filter_map(secret).filter_map(|value| Key::hiding(&value)).collect()
    }

    /// The query without its secrets, with its question mark.
    fn shown_query(&self) -> String {
        let Some(query) = &self.query else { return String::new() };
        let shown = |part: &str| match part.split_once('=') {
            Some((name, value)) if is_secret(name, value) => format!("{name}={HIDDEN}"),
            None if is_secret("", part) => HIDDEN.to_string(),
            _ => part.to_string(),
        };
        format!("?{}", query.split('&').map(shown).collect::<Vec<_>>().join("&"))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The usual place of the APIs is not said.
        let path = match (self.root.strip_suffix("/v1"), self.api) {
            (Some(prefix), _) => prefix.to_string(),
            (None, Some(api)) => format!("{}{}", self.root, api.ending()),
            (None, None) => self.root.clone(),
        };
        write!(f, "{}{path}{}", self.server, self.shown_query())
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_to_their_base() {
        for (text, base, chat, local) in [
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000", "http://127.0.0.1:8000/v1/chat/completions", true),
            ("http://localhost:8000/v1/", "http://localhost:8000", "http://localhost:8000/v1/chat/completions", true),
            (
                "https://api.example.org/openai/v1/chat/completions",
                "https://api.example.org/openai",
                "https://api.example.org/openai/v1/chat/completions",
                false,
            ),
            ("http://[::1]:80/v1/embeddings", "http://[::1]:80", "http://[::1]:80/v1/chat/completions", true),
            (
                "http://a/api/paas/v4/chat/completions",
                "http://a/api/paas/v4/chat/completions",
                "http://a/api/paas/v4/chat/completions",
                false,
            ),
            ("http://a/api/v3", "http://a/api/v3", "http://a/api/v3/chat/completions", false),
            (
                "http://a/v1beta/openai/chat/completions/",
                "http://a/v1beta/openai/chat/completions",
                "http://a/v1beta/openai/chat/completions",
                false,
            ),
            (
                "http://a/openai/deployments/m/chat/completions?api-version=2024-06-01",
                "http://a/openai/deployments/m/chat/completions?api-version=2024-06-01",
                "http://a/openai/deployments/m/chat/completions?api-version=2024-06-01",
                false,
            ),
            ("http://a?api-version=1", "http://a?api-version=1", "http://a/v1/chat/completions?api-version=1", false),
        ] {
            let location = Location::parse(text).unwrap();
            assert_eq!((location.to_string().as_str(), location.is_local()), (base, local));
            assert_eq!(location.of(Api::Chat).unwrap().to_string(), chat);
        }
        let location = Location::parse("http://a/x/v4/chat/completions").unwrap();
        assert_eq!(location.models().unwrap().to_string(), "http://a/x/v4/models");
        assert_eq!(location.beside("/version").unwrap().to_string(), "http://a/x/version");
        assert_eq!((location.api(), Location::parse("http://a").unwrap().api()), (Some(Api::Chat), None));
    }

    #[test]
    fn secrets_in_addresses_are_not_repeated() {
        for bad in ["http://me:hunter2@host/v1", "host:80", "ftp://hunter2", "", "http://", "http://h/v1/responses"] {
            let error = Location::parse(bad).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
        for (text, shown) in [
            ("https://h/v1?key=hunter2", "https://h?key=[key]"),
            ("https://h/v1?api-version=1&subscription-key=hunter2", "https://h?api-version=1&subscription-key=[key]"),
            ("https://h/v1?x=hunter2hunter2hunter2", "https://h?x=[key]"),
            ("https://h/v1?hunter2hunter2hunter2", "https://h?[key]"),
            ("https://h?max_tokens_mode=a&deployment=llama-3-8b", "https://h?max_tokens_mode=a&deployment=llama-3-8b"),
        ] {
            let location = Location::parse(text).unwrap();
            assert_eq!((location.to_string(), format!("{location:?}")), (shown.to_string(), shown.to_string()));
            assert!(location.of(Api::Chat).unwrap().to_string().contains(text.split('?').nth(1).unwrap()));
            assert_eq!(location.secrets().len(), shown.contains(HIDDEN) as usize);
        }
    }
}
