//! A server of known behaviour, on a thread for each connection: what it does with a request is a script of waits and
//! bytes. Its waits are those of the system, exact to some tens of microseconds, so that queueing theory can be held
//! against what a client measures.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A request as it came.
pub struct ReceivedRequest {
    pub path: String,
    pub body: Value,
    pub at: Instant,
    /// How many came before.
    pub order: usize,
    pub authorization: Option<String>,
}

/// What to do next.
pub enum Act {
    Until(Instant),
    Send(Vec<u8>),
    Close,
}

/// The acts of an answer.
pub type Script = Vec<Act>;

/// A running server.
pub struct Server {
    pub url: String,
    address: std::net::SocketAddr,
    stop: Arc<AtomicBool>,
    pub asks: Arc<AtomicUsize>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

impl Server {
    /// Serves with `script` on a free port of the loopback.
    pub fn start(script: impl Fn(&ReceivedRequest) -> Script + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let asks = Arc::new(AtomicUsize::new(0));
        let script: Arc<dyn Fn(&ReceivedRequest) -> Script + Send + Sync> = Arc::new(script);
        let (stopping, counted) = (stop.clone(), asks.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopping.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), script, counted) = (stream, script.clone(), counted.clone()) else { continue };
                std::thread::spawn(move || {
                    let _ = converse(stream, script.as_ref(), &counted);
                });
            }
        });
        Self { url: format!("http://{address}"), address, stop, asks }
    }
}

fn converse(
    stream: TcpStream,
    script: &(dyn Fn(&ReceivedRequest) -> Script + Send + Sync),
    counted: &AtomicUsize,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    // SAFETY: it sets a number of this thread.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1);
    }
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let at = Instant::now();
        let path = first.split(' ').nth(1).unwrap_or("").to_string();
        let (mut length, mut authorization) = (0, None);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let line = line.trim();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            match name.to_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "authorization" => authorization = Some(value.trim().to_string()),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        if path.split('?').next().is_some_and(|path| path.ends_with("/models")) {
            writer.write_all(&json(200, "{\"data\":[{\"id\":\"simulated\"}]}"))?;
            continue;
        }
        // It says nothing of itself.
        if first.starts_with("GET ") {
            writer.write_all(&json(404, "{\"detail\":\"Not Found\"}"))?;
            continue;
        }
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let order = counted.fetch_add(1, Ordering::SeqCst);
        for act in script(&ReceivedRequest { path, body, at, order, authorization }) {
            match act {
                Act::Until(moment) => std::thread::sleep(moment.saturating_duration_since(Instant::now())),
                Act::Send(bytes) => writer.write_all(&bytes)?,
                Act::Close => return writer.shutdown(Shutdown::Both),
            }
        }
    }
}

/// A whole answer.
pub fn json(status: u16, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

/// The head of a stream.
pub fn head() -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec()
}

/// Bytes as a chunk of a stream.
pub fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// An event.
pub fn event(data: &str) -> Vec<u8> {
    chunk(format!("data: {data}\n\n").as_bytes())
}

/// A token of an answer.
pub fn token(text: &str) -> Vec<u8> {
    event(&format!("{{\"choices\":[{{\"index\":0,\"text\":\"{text}\",\"finish_reason\":null}}]}}"))
}

/// The end of an answer of so many tokens.
pub fn ending(prompt: usize, tokens: usize) -> Vec<u8> {
    [
        event("{\"choices\":[{\"index\":0,\"text\":\"\",\"finish_reason\":\"length\"}]}"),
        event(&format!("{{\"choices\":[],\"usage\":{{\"prompt_tokens\":{prompt},\"completion_tokens\":{tokens}}}}}")),
        event("[DONE]"),
        b"0\r\n\r\n".to_vec(),
    ]
    .concat()
}

/// Everything of an answer at once.
pub fn answer(tokens: usize) -> Vec<u8> {
    let mut all = head();
    (0..tokens).for_each(|_| all.extend(token("x")));
    all.extend(ending(5, tokens));
    all
}

/// Places that work on one request each, first come first served: when each is free again.
pub struct Places(Mutex<Vec<Instant>>);

impl Places {
    pub fn new(count: usize) -> Self {
        Self(Mutex::new(vec![Instant::now(); count]))
    }

    /// When a request that comes at `at` and takes `service` is done.
    pub fn done(&self, at: Instant, service: Duration) -> Instant {
        let mut free = self.0.lock().unwrap();
        let place = free.iter_mut().min().unwrap();
        *place = at.max(*place) + service;
        *place
    }
}

/// The same on paper: E2E of requests that come at `arrivals` and take `services`, in seconds.
pub fn exact(arrivals: &[f64], services: &[f64], places: usize) -> Vec<f64> {
    let mut free = vec![0.0f64; places];
    let serve = |(at, service): (&f64, &f64)| {
        let place = free.iter_mut().min_by(|a, b| a.total_cmp(b)).unwrap();
        *place = at.max(*place) + service;
        *place - at
    };
    arrivals.iter().zip(services).map(serve).collect()
}
