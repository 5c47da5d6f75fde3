//! What the load generator itself can do, its server on the same machine: short requests a second, streams at once, how
//! late it sends, and what a million requests take in memory.
//!
//! `cargo bench --bench load`. With `oha` on the path (or in `OHA`) its figures at the same rate stand beside ours.

use sizewell::engine::endpoint::{Api, Endpoint, Location, RequestFormat};
use sizewell::measure::load::{End, Generator, Load, LoadObserver, Slo, StepPlan};
use sizewell::record::{Ranged, StepRecord};
use sizewell::workload::traffic::{Arrivals, LengthDistribution, PromptSource, Wording};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

struct Silent;
impl LoadObserver for Silent {}

fn main() {
    raise_file_limit();
    if std::env::args().any(|argument| argument == "serve") {
        let threads = std::env::var("SERVER_THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
        return tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build()
            .unwrap()
            .block_on(serve());
    }
    let only: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|asked| name.contains(asked.as_str()));
    let server = Server::start();
    if wanted("lag") {
        lag(&server);
    }
    if wanted("short") {
        short(&server);
    }
    if wanted("streams") {
        streams(&server);
    }
    if wanted("million") {
        million(&server);
    }
}

fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// The server, in a process of its own.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start() -> Self {
        let mut child =
            Command::new(std::env::current_exe().unwrap()).arg("serve").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, url: format!("http://{}", line.trim()) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn generator(server: &Server, gen_tokens: usize) -> Generator {
    let asks = RequestFormat::new(Api::Completions, "m");
    let endpoint = Endpoint::new(&Location::parse(&server.url).unwrap(), asks).unwrap();
    let fixed = LengthDistribution::Fixed;
    let prompts = PromptSource::synthetic(Wording::Words, fixed(8), fixed(gen_tokens), 0.0, (1, 0));
    let threads = std::env::var("CLIENT_THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    Generator::new(Arc::new(endpoint), prompts, threads).unwrap()
}

fn plan(load: Load, end: End, warm_up_s: f64) -> StepPlan {
    let timeout = Duration::from_secs(60);
    StepPlan { step: 0, load, end, warm_up_s, timeout, slo: Slo::default(), seed: 1, may_end_early: false }
}

fn open(rate: f64) -> Load {
    Load::Open { arrivals: Arrivals::Constant, rate }
}

fn ms(value: Option<Ranged>) -> String {
    value.map_or("-".to_string(), |ranged| format!("{:.3} ms", ranged.value * 1e3))
}

fn show(what: &str, record: &StepRecord) {
    println!(
        "{what}: offered {:.0}/s, answered {:.0}/s, {:?}, send lag mean {:.3} ms p50 {} p99 {}, E2E p50 {} p99 {}, at once {}",
        record.offered_requests_per_s.0,
        record.answered_requests_per_s.0,
        record.outcomes,
        record.send_lag_s.mean.unwrap_or(0.0) * 1e3,
        ms(record.send_lag_s.p50),
        ms(record.send_lag_s.p99),
        ms(record.e2e_s.p50),
        ms(record.e2e_s.p99),
        record.most_in_flight,
    );
}

fn short(server: &Server) {
    println!("\n# short requests, one token, server and client on this machine");
    for rate in [10_000.0, 20_000.0, 25_000.0] {
        let record =
            generator(server, 1).run(&plan(open(rate), End { requests: None, seconds: Some(5.0) }, 1.0), &mut Silent);
        show(&format!("{rate:.0}/s for 5 s"), &record);
    }
    let users = Load::Closed { users: 64, think: Duration::ZERO };
    let record = generator(server, 1).run(&plan(users, End { requests: None, seconds: Some(5.0) }, 1.0), &mut Silent);
    show("64 users, closed loop", &record);
}

fn streams(server: &Server) {
    println!("\n# streams of 12 tokens, one each second, 2,000 begun a second for 6 s");
    let record =
        generator(server, 12).run(&plan(open(2000.0), End { requests: None, seconds: Some(6.0) }, 0.0), &mut Silent);
    show("streams", &record);
}

fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmRSS")).unwrap_or("");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

fn million(server: &Server) {
    println!("\n# a million requests, closed loop of 64 users");
    let generator = generator(server, 1);
    let users = || Load::Closed { users: 64, think: Duration::ZERO };
    let mut before = 0.0;
    for requests in [100_000, 1_000_000] {
        let record = generator.run(&plan(users(), End { requests: Some(requests), seconds: None }, 0.0), &mut Silent);
        show(&format!("{requests} requests"), &record);
        println!("resident {:.0} MiB ({:+.0})", resident(), resident() - before);
        before = resident();
    }
}

fn lag(server: &Server) {
    println!("\n# how late requests are sent at 1,000/s, and E2E from the intended start; oha at the same rate");
    let oha = std::env::var("OHA").unwrap_or("oha".to_string());
    for round in 0..3 {
        let record =
            generator(server, 1).run(&plan(open(1000.0), End { requests: None, seconds: Some(8.0) }, 1.0), &mut Silent);
        show(&format!("round {round}: ours"), &record);
        for correction in [true, false] {
            let mut command = Command::new(&oha);
            command.args(["--no-tui", "-q", "1000", "-z", "8s", "-c", "50", "--output-format", "json", "-m", "POST"]);
            command.args(["-T", "application/json", "-d", "{\"model\":\"m\",\"prompt\":\"a b\",\"max_tokens\":1}"]);
            if correction {
                command.arg("--latency-correction");
            }
            let Ok(output) = command.arg(format!("{}/v1/completions", server.url)).output() else {
                println!("round {round}: oha is not there (set OHA to its path)");
                break;
            };
            let Ok(json) = serde_json::from_slice::<serde_json::Value>(&output.stdout) else {
                println!("oha: {}", String::from_utf8_lossy(&output.stderr));
                break;
            };
            let at = |p: &str| json["latencyPercentiles"][p].as_f64().unwrap_or(f64::NAN) * 1e3;
            println!(
                "round {round}: oha{}: answered {:.0}/s, E2E p50 {:.3} ms p99 {:.3} ms",
                if correction { ", corrected" } else { "" },
                json["summary"]["requestsPerSec"].as_f64().unwrap_or(f64::NAN),
                at("p50"),
                at("p99"),
            );
        }
    }
}

async fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let _ = converse(stream).await;
        });
    }
}

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// Answers each request of `n` tokens at once where that is one, else with a token each second.
async fn converse(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let token = chunk("data: {\"choices\":[{\"index\":0,\"text\":\"x\",\"finish_reason\":null}]}\n\n");
    let ending = |tokens: usize| {
        chunk(&format!(
            "data: {{\"choices\":[{{\"index\":0,\"text\":\"\",\"finish_reason\":\"length\"}}],\"usage\":{{\"prompt_tokens\":8,\"completion_tokens\":{tokens}}}}}\n\ndata: [DONE]\n\n"
        )) + "0\r\n\r\n"
    };
    let at_once = format!("{HEAD}{token}{}", ending(1));
    let mut buffer: Vec<u8> = Vec::with_capacity(4096);
    loop {
        let (head, length) = loop {
            if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&buffer[..end]).to_lowercase();
                let length = text.split("content-length:").nth(1).and_then(|rest| rest.lines().next());
                break (end + 4, length.and_then(|n| n.trim().parse::<usize>().ok()).unwrap_or(0));
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        while buffer.len() < head + length {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        let body = String::from_utf8_lossy(&buffer[head..head + length]).into_owned();
        buffer.drain(..head + length);
        let tokens: usize = body
            .split("\"max_tokens\":")
            .nth(1)
            .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
            .unwrap_or(1);
        if tokens == 1 {
            stream.write_all(at_once.as_bytes()).await?;
            continue;
        }
        stream.write_all(HEAD.as_bytes()).await?;
        for _ in 0..tokens {
            stream.write_all(token.as_bytes()).await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        stream.write_all(ending(tokens).as_bytes()).await?;
    }
}
