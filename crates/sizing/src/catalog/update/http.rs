//! Asking for a list: redirects within https, a few more tries where a server is busy, a limit on time and size.

use std::io::Read;
use std::time::Duration;
use ureq::Agent;
use ureq::http::Uri;

/// Times that a busy server is asked.
const TRIES: u32 = 4;
/// Most seconds that a server may ask us to wait.
const MOST_WAIT_S: u64 = 30;
const MAX_REDIRECTS: usize = 5;

/// Asks servers.
pub struct Client {
    agent: Agent,
    pause: Duration,
}

impl Client {
    /// A client that waits this long for an answer and its body.
    pub fn new(timeout: Duration) -> Self {
        let config = Agent::config_builder()
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_connect(Some(timeout.min(Duration::from_secs(20))))
            .timeout_recv_response(Some(timeout.min(Duration::from_secs(120))))
            .timeout_recv_body(Some(timeout))
            .user_agent(concat!("sizewell/", env!("CARGO_PKG_VERSION")));
        // A server on this machine is a test's: it need not be spared.
        Self { agent: config.build().into(), pause: Duration::from_millis(500) }
    }

    /// The body of an address, of at most `most` bytes.
    pub fn get(&self, url: &str, most: u64) -> Result<Box<dyn Read>, String> {
        let mut last = String::new();
        for attempt in 0..TRIES {
            match self.once(url, most) {
                Ok(body) => return Ok(body),
                Err(Failure::Final(why)) => return Err(why),
                Err(Failure::Busy(why, wait)) => {
                    last = why;
                    let local = is_loopback(url);
                    let pause = wait.map_or(self.pause * 2u32.pow(attempt), Duration::from_secs);
                    std::thread::sleep(if local { pause.min(Duration::from_millis(20)) } else { pause });
                }
            }
        }
        Err(format!("{last} ({TRIES} tries)"))
    }

    /// The body as text.
    pub fn text(&self, url: &str, most: u64) -> Result<String, String> {
        let mut text = String::new();
        self.get(url, most)?.read_to_string(&mut text).map_err(|e| format!("{url}: {e}"))?;
        Ok(text)
    }

    fn once(&self, url: &str, most: u64) -> Result<Box<dyn Read>, Failure> {
        let mut at = url.to_string();
        for _ in 0..=MAX_REDIRECTS {
            let fail = |e: ureq::Error| {
                // A name that is not known now is not known in a second: most likely there is no network.
                let unknown = matches!(e, ureq::Error::HostNotFound) || e.to_string().contains("lookup address");
                let why = format!("{at}: {e}");
                if unknown { Failure::Final(why) } else { Failure::Busy(why, None) }
            };
            let answer = self.agent.get(&at).call().map_err(fail)?;
            let status = answer.status().as_u16();
            match status {
                200 => {
                    let reader = answer.into_body().into_with_config().limit(most).reader();
                    return Ok(Box::new(reader));
                }
                301 | 302 | 303 | 307 | 308 => {
                    let place = answer.headers().get("location").and_then(|l| l.to_str().ok());
                    let place = place.ok_or(Failure::Final(format!("{at}: a redirect to nowhere")))?;
                    at = redirected(&at, place).map_err(Failure::Final)?;
                }
                429 | 500..=599 => {
                    let wait = answer.headers().get("retry-after").and_then(|w| w.to_str().ok()?.trim().parse().ok());
                    return Err(Failure::Busy(format!("{at}: status {status}"), wait.map(|w: u64| w.min(MOST_WAIT_S))));
                }
                _ => return Err(Failure::Final(format!("{at}: status {status}"))),
            }
        }
        Err(Failure::Final(format!("{url}: more than {MAX_REDIRECTS} redirects")))
    }
}

enum Failure {
    Final(String),
    Busy(String, Option<u64>),
}

fn is_loopback(url: &str) -> bool {
    let host = url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_string));
    host.is_some_and(|host| ["127.0.0.1", "localhost", "[::1]"].contains(&host.as_str()))
}

/// Where a redirect leads: never from https to plain http.
fn redirected(from: &str, to: &str) -> Result<String, String> {
    let base: Uri = from.parse().map_err(|e| format!("{from}: {e}"))?;
    let target = if to.starts_with("http://") || to.starts_with("https://") {
        to.to_string()
    } else if to.starts_with('/') {
        let (scheme, authority) = (base.scheme_str().unwrap_or("https"), base.authority());
        format!("{scheme}://{}{to}", authority.map_or("", |a| a.as_str()))
    } else {
        return Err(format!("{from}: a redirect to `{to}`, which is not followed"));
    };
    if from.starts_with("https://") && !target.starts_with("https://") {
        return Err(format!("{from}: a redirect to {target}, which is not https"));
    }
    Ok(target)
}

/// Whether an address may be asked: https, or this machine.
pub fn check_endpoint(url: &str) -> Result<(), String> {
    if url.starts_with("https://") || (url.starts_with("http://") && is_loopback(url)) {
        Ok(())
    } else {
        Err(format!("`{url}` is neither https nor an address of this machine"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_within_https() {
        assert_eq!(redirected("https://a.b/c", "/d").as_deref(), Ok("https://a.b/d"));
        assert_eq!(redirected("https://a.b/c", "https://e.f/g").as_deref(), Ok("https://e.f/g"));
        assert!(redirected("https://a.b/c", "http://e.f/g").is_err());
        assert!(redirected("https://a.b/c", "ftp://e.f/g").is_err());
        assert!(check_endpoint("http://127.0.0.1:80/x").is_ok() && check_endpoint("https://x.y").is_ok());
        assert!(check_endpoint("http://x.y").is_err() && check_endpoint("file:///etc/passwd").is_err());
    }
}
