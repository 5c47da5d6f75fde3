//! Where a server is. An address with a name and password or with a query is refused: it would stand in records.

use hyper::Uri;
use std::fmt;

/// Scheme, host and the path before `/v1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    base: String,
    host: String,
}

impl Location {
    /// Reads `http://host:8000`, `https://host/prefix/v1`. The error does not repeat the address.
    pub fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.trim().parse().map_err(|_| "not an address such as http://127.0.0.1:8000".to_string())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err("an address begins with http:// or https://".to_string());
        };
        if !["http", "https"].contains(&scheme) {
            return Err(format!("{scheme}: is not http: or https:"));
        }
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err("an address with a password or a query would stand in the record: give the key in an \
                        environment variable (--api-key-env)"
                .to_string());
        }
        let path = uri.path().trim_end_matches('/');
        // Whole addresses of one API are pasted too.
        let path = ["/chat/completions", "/completions", "/embeddings"]
            .iter()
            .fold(path, |path, ending| path.strip_suffix(ending).unwrap_or(path));
        let path = path.strip_suffix("/v1").unwrap_or(path);
        Ok(Self { base: format!("{scheme}://{authority}{path}"), host: authority.host().to_string() })
    }

    /// The address of a path such as `/v1/completions`.
    pub fn of(&self, path: &str) -> Result<Uri, String> {
        format!("{}{path}", self.base).parse().map_err(|_| format!("{path} cannot be asked for there"))
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
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_to_their_base() {
        for (text, base, local) in [
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000", true),
            ("http://localhost:8000/v1/", "http://localhost:8000", true),
            ("https://api.example.org/openai/v1/chat/completions", "https://api.example.org/openai", false),
            ("http://[::1]:80/v1/embeddings", "http://[::1]:80", true),
        ] {
            let location = Location::parse(text).unwrap();
            assert_eq!((location.to_string().as_str(), location.is_local()), (base, local));
        }
        assert_eq!(Location::parse("http://a/v1").unwrap().of("/v1/x").unwrap().to_string(), "http://a/v1/x");
    }

    #[test]
    fn secrets_in_addresses_are_refused_and_not_repeated() {
        for bad in
            ["http://me:hunter2@host/v1", "https://host/v1?key=hunter2", "host:80", "ftp://hunter2", "", "http://"]
        {
            let error = Location::parse(bad).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
