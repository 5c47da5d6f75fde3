//! `sizewell load` from its arguments to what it leaves: a limit that is priced and planned with, an interrupted run, the
//! engine behind its own port.

use crate::support::simulated::{self, Act, Places, Server};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn sizewell() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sizewell"))
}

fn load(url: &str, out: &Path, args: &[&str]) -> Output {
    let mut command = sizewell();
    command.args(["load", "--endpoint", url, "--json", "-o"]).arg(out).args(args);
    command.output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout)
}

/// One place of 10 ms: M/D/1.
fn one_place() -> Server {
    let line = Places::new(1);
    Server::start(move |ask| {
        vec![Act::Until(line.done(ask.at, Duration::from_millis(10))), Act::Send(simulated::answer(1))]
    })
}

fn signal(child: &Child) {
    // SAFETY: it sends a signal to a process of ours that has not been waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
}

#[test]
fn a_limit_is_found_priced_and_planned_with() {
    let server = one_place();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let args = ["--api", "completions", "--gen-tokens", "1", "--find-limit", "--slo", "e2e_p90=100ms"];
    let found = load(&server.url, &out, &[args.as_slice(), &["--precision", "20%", "--requests", "60"]].concat());
    assert!([0, 5].contains(&found.status.code().unwrap()), "{}", said(&found));
    let found = json(&found);
    // A queue of one place of 10 ms carries less than 100/s; its p90 reaches 100 ms at about 0.87 of that.
    let rate = found["limit"]["requests_per_s"].as_f64().unwrap();
    assert!((50.0..105.0).contains(&rate), "{rate}");
    assert_eq!(found["limit"]["gave_way"], "queue or prefill");
    // What stands for it is the step that was run again, three times as long.
    let steps = found["steps"].as_array().unwrap();
    let stands = &steps[found["limit"]["step"].as_u64().unwrap() as usize];
    assert_eq!((&stands["requests"], &stands["seconds"]), (&180.into(), &found["limit"]["repeated_s"]));
    assert!(stands["backlog_growth_per_s"].is_null() && stands["stolen_cpu"].is_number(), "{stands}");
    // One request after the other has its phases, so that what grew is told against them.
    assert!(steps[0]["arrival"] == "closed_1" && steps[0]["phases_from"] == "outside" && steps[0]["warm_up"] != 0);
    assert!(steps[0]["phases"]["queue_s"] == 0.0 && steps[0]["phases"]["first_token_s"].as_f64().unwrap() > 0.0);
    assert!(found["notes"].to_string().contains("the search took"), "{}", found["notes"]);
    assert!(found["limit"]["hi"].as_f64().unwrap() > rate);
    assert!(found["recovery"]["burst_requests_per_s"].as_f64().unwrap() > rate * 1.9);
    let rows = std::fs::read_to_string(out.join("requests.csv")).unwrap();
    let requests: u64 = found["steps"].as_array().unwrap().iter().map(|step| step["requests"].as_u64().unwrap()).sum();
    assert!(rows.lines().count() as u64 > requests, "each request has its row, those of warm-up too");

    let out = out.to_str().unwrap();
    let ranked = sizewell().args(["rank", out, "--price-per-hour", "0.36", "--format", "json"]).output().unwrap();
    assert_eq!(ranked.status.code(), Some(0), "{}", said(&ranked));
    let row = &json(&ranked)["rows"][0];
    let cost: f64 = row["usd_per_thousand_requests"]["value"].as_str().unwrap().parse().unwrap();
    assert!((cost / (1000.0 * 0.36 / 3600.0 / rate) - 1.0).abs() < 0.01, "{cost} at {rate}/s");
    assert_eq!(json(&ranked)["rows"].as_array().unwrap().len(), 1, "times under traffic are not projected");
    let planned = sizewell()
        .args(["plan", out, "--price-per-hour", "0.36", "--rps", "1000", "--headroom", "1", "--json"])
        .output()
        .unwrap();
    assert_eq!(planned.status.code(), Some(0), "{}", said(&planned));
    let instances = (1000.0 / rate).ceil() as u64;
    assert!(said(&planned).contains(&instances.to_string()), "{instances}: {}", said(&planned));
    let page = folder.path().join("r.html");
    let report = sizewell().args(["report", out, "--price-per-hour", "0.36", "-o"]).arg(&page).output().unwrap();
    assert_eq!(report.status.code(), Some(0), "{}", said(&report));
    let page = std::fs::read_to_string(page).unwrap();
    for words in [
        "Limit under the SLO",
        "when it was run again",
        "What gave way first: queue or prefill",
        "After a burst",
        "E2E against the rate of requests",
    ] {
        assert!(page.contains(words), "{words}");
    }
    let tail = sizewell().args(["rank", out, "--price-per-hour", "0.36", "--slo", "e2e_p90=1ms"]).output().unwrap();
    assert!(
        said(&tail).contains("no measured batch keeps the limits") || tail.status.code() != Some(0),
        "{}",
        said(&tail)
    );
}

#[test]
fn a_server_that_dies_in_mid_run_is_no_success() {
    // It answers so many, and then its socket is there and nobody answers.
    let dies_after = |count: usize| {
        Server::start(move |ask| {
            if ask.order < count {
                vec![Act::Until(ask.at + Duration::from_millis(5)), Act::Send(simulated::answer(1))]
            } else {
                vec![Act::Close]
            }
        })
    };
    let folder = tempfile::tempdir().unwrap();
    let server = dies_after(40);
    let out = folder.path().join("run");
    let args = ["--api", "completions", "--gen-tokens", "1", "--rate", "50", "--requests", "60", "--warm-up", "0"];
    let run = load(&server.url, &out, &args);
    assert_eq!(run.status.code(), Some(5), "{}", said(&run));
    assert!(said(&run).contains("of 60 requests failed"), "{}", said(&run));
    let step = &json(&run)["steps"][0];
    assert_eq!(step["offered_requests_per_s"], 50.0);
    assert!(step["answered_requests_per_s"].as_f64().unwrap() < 45.0, "{step}");
    let rows = std::fs::read_to_string(out.join("cases.csv")).unwrap();
    assert!(rows.contains("failed_requests"), "{rows}");
    let ranked = sizewell().arg("rank").arg(&out).args(["--price-per-hour", "1", "--format", "json"]).output().unwrap();
    assert!(said(&ranked).contains("of 60 requests failed"), "{}", said(&ranked));
    // Where a limit is looked for, what the dead do not answer is no limit.
    let server = dies_after(150);
    let out = folder.path().join("limit");
    let args = ["--api", "completions", "--gen-tokens", "1", "--find-limit", "--requests", "60", "--rate", "30"];
    let run = load(&server.url, &out, &[args.as_slice(), &["--slo", "e2e_p90=200ms", "--warm-up", "0"]].concat());
    assert_eq!(run.status.code(), Some(1), "{}", said(&run));
    assert!(said(&run).contains("does not answer any more"), "{}", said(&run));
    let rows = std::fs::read_to_string(out.join("cases.csv")).unwrap_or_default();
    assert!(rows.lines().count() <= 1, "nothing to price: {rows}");
}

#[test]
fn ctrl_c_keeps_what_was_measured() {
    let server =
        Server::start(|ask| vec![Act::Until(ask.at + Duration::from_millis(30)), Act::Send(simulated::answer(1))]);
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut child = sizewell()
        .args(["load", "--endpoint", &server.url, "--api", "completions", "--rate", "50", "--duration", "300s"])
        .args(["--warm-up", "0", "--gen-tokens", "1", "-o"])
        .arg(&out)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(4));
    signal(&child);
    let began = Instant::now();
    let status = child.wait().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(status.code(), Some(130));
    let record: Value = serde_json::from_str(&std::fs::read_to_string(out.join("run.json")).unwrap()).unwrap();
    assert_eq!(record["status"], "interrupted");
    let step = &record["traffic"]["steps"][0];
    assert!(step["requests"].as_u64().unwrap() > 80 && step["cut_short"] == "stopped by the user", "{step}");
    assert!((step["answered_requests_per_s"].as_f64().unwrap() / 50.0 - 1.0).abs() < 0.2, "{step}");
    assert!(std::fs::read_to_string(out.join("cases.csv")).unwrap().lines().count() == 2);
}

#[test]
fn the_engine_answers_behind_its_own_port() {
    let mut serving = sizewell()
        .args(["load", "--model", "reference", "--quant", "int8", "--serve", "127.0.0.1:0", "--context", "256"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(serving.stderr.take().unwrap()).lines();
    let line = lines.find_map(|line| line.ok().filter(|line| line.starts_with("serving "))).unwrap();
    let url =
        line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().trim_end_matches(':').to_string();
    std::thread::spawn(move || lines.for_each(drop));
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let args =
        ["--rate", "10", "--requests", "60", "--warm-up", "1s", "--prompt", "20", "--gen-tokens", "uniform:5:15"];
    let run = load(&url, &out, &args);
    assert!([0, 5].contains(&run.status.code().unwrap()), "{}", said(&run));
    let step = &json(&run)["steps"][0];
    assert_eq!((&step["outcomes"]["ok"], &step["tokens_from"]), (&60.into(), &"server".into()));
    assert_eq!(step["phases_from"], "measured");
    let (came, asked) = (step["output_tokens"].as_f64().unwrap(), step["asked_tokens"].as_f64().unwrap());
    assert!((came - asked).abs() < 1e-9 && step["short_answers"] == 0);
    signal(&serving);
    assert_eq!(serving.wait().unwrap().code(), Some(0));
    // What cannot be is said before a model is loaded.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let refused = sizewell().args(["load", "--model", "reference", "--serve", &taken]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("in use"), "{}", said(&refused));
}

#[test]
fn traces_prompts_and_embeddings_are_sent() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace.csv");
    std::fs::write(&trace, "timestamp_s,prompt_tokens,gen_tokens\n0,5,2\n1,50,3\n2,7,1\n").unwrap();
    let server = Server::start(|ask| match ask.path.as_str() {
        "/v1/embeddings" => {
            vec![Act::Send(simulated::json(200, "{\"data\":[{\"embedding\":[1.0]}],\"usage\":{\"prompt_tokens\":3}}"))]
        }
        _ => {
            let asked = ask.body["max_tokens"].as_u64().unwrap() as usize;
            let words = ask.body["prompt"].as_str().unwrap().split(' ').count();
            let mut answer = simulated::head();
            (0..asked).for_each(|_| answer.extend(simulated::token("x")));
            answer.extend(simulated::ending(words, asked));
            vec![Act::Send(answer)]
        }
    });
    let out = folder.path().join("trace-run");
    let run = load(&server.url, &out, &["--api", "completions", "--trace", trace.to_str().unwrap(), "--speed", "4"]);
    let rows = std::fs::read_to_string(out.join("requests.csv")).unwrap();
    let lengths: Vec<(String, String)> = rows
        .lines()
        .skip(1)
        .map(|line| line.split(',').map(str::to_string).collect::<Vec<_>>())
        .map(|fields| (fields[7].clone(), fields[9].clone()))
        .collect();
    assert_eq!(
        lengths,
        [("5", "2"), ("50", "3"), ("7", "1")].map(|(a, b)| (a.to_string(), b.to_string())),
        "{}",
        said(&run)
    );
    // Three requests are too few for a figure, and that is said.
    assert!(std::fs::read_to_string(out.join("cases.csv")).unwrap().contains("too few"), "{}", said(&run));

    let prompts = folder.path().join("prompts.txt");
    std::fs::write(&prompts, "one two\nthree\n").unwrap();
    let out = folder.path().join("embeddings");
    let args = ["--api", "embeddings", "--users", "2", "--requests", "60", "--warm-up", "0", "--prompts"];
    let run = load(&server.url, &out, &[args.as_slice(), &[prompts.to_str().unwrap()]].concat());
    assert_eq!(run.status.code(), Some(0), "{}", said(&run));
    let step = &json(&run)["steps"][0];
    assert_eq!((&step["arrival"], &step["outcomes"]["ok"]), (&"closed_2".into(), &60.into()));
    assert!(step["ttft_s"]["p50"].is_null() && step["e2e_s"]["p50"]["value"].as_f64().unwrap() > 0.0);
}

#[test]
fn what_cannot_be_compared_or_bought_is_said() {
    let quick = Server::start(|_| vec![Act::Send(simulated::answer(1))]);
    let folder = tempfile::tempdir().unwrap();
    let runs: Vec<_> = ["20", "60"]
        .into_iter()
        .map(|rate| {
            let out = folder.path().join(rate);
            let args =
                ["--api", "completions", "--gen-tokens", "1", "--rate", rate, "--requests", "100", "--warm-up", "0"];
            load(&quick.url, &out, &args);
            out
        })
        .collect();
    let gate = sizewell().arg("gate").arg(&runs[0]).arg("--baseline").arg(&runs[1]).output().unwrap();
    assert!(said(&gate).contains("requests came a second in one"), "{}", said(&gate));
    let rank =
        sizewell().arg("rank").arg(&runs[0]).args(["--price-per-hour", "1", "--format", "json"]).output().unwrap();
    assert!(said(&rank).contains("not the most that it carries"), "{}", said(&rank));
    // A tail of a closed loop is promised by nobody, and a time that no request has is no limit.
    let users = load(&quick.url, &folder.path().join("u"), &["--users", "2", "--slo", "ttft_p99=1s"]);
    assert!(users.status.code() == Some(2) && said(&users).contains("a closed loop hides its tail"));
    let none = load(
        &quick.url,
        &folder.path().join("n"),
        &["--api", "completions", "--gen-tokens", "1", "--find-limit", "--slo", "tpot_p90=1s"],
    );
    assert!(none.status.code() == Some(1) && said(&none).contains("no request has a TPOT"), "{}", said(&none));
}

#[test]
fn an_slo_at_a_rate_is_an_exit_status() {
    let slow =
        Server::start(|ask| vec![Act::Until(ask.at + Duration::from_millis(80)), Act::Send(simulated::answer(1))]);
    let folder = tempfile::tempdir().unwrap();
    let args =
        ["--api", "completions", "--gen-tokens", "1", "--rate", "40", "--requests", "120", "--warm-up", "0", "--slo"];
    for (slo, status) in [("e2e_p90=1s", 0), ("e2e_p90=40ms", 3)] {
        let run = load(&slow.url, &folder.path().join(status.to_string()), &[args.as_slice(), &[slo]].concat());
        // 5: the machine was so busy that requests went out late.
        assert!([Some(status), Some(5)].contains(&run.status.code()), "{slo}: {}", said(&run));
    }
}

#[test]
fn a_closed_stdout_takes_no_result_away() {
    // `| head -0`: nobody reads, and what was found is no better for that. Whoever writes to a full disk is told.
    let status = |command: &mut std::process::Command, full: bool| {
        let stdout = if full {
            Stdio::from(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap())
        } else {
            Stdio::piped()
        };
        let mut child = command.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let out = child.wait_with_output().unwrap();
        (out.status.code().unwrap(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let server =
        Server::start(|ask| vec![Act::Until(ask.at + Duration::from_millis(200)), Act::Send(simulated::answer(1))]);
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str| {
        let mut command = sizewell();
        command.args(["load", "--endpoint", &server.url, "--api", "completions", "--rate", "60", "--requests", "60"]);
        command.args(["--warm-up", "0", "--gen-tokens", "1", "--slo", "e2e_p50=20ms", "-o"]);
        command.arg(folder.path().join(name));
        command
    };
    // 5 where the machine is so busy that the requests were late.
    let (code, said) = status(&mut run("closed"), false);
    assert!([3, 5].contains(&code), "{code}: {said}");
    let (code, said) = status(&mut run("full"), true);
    assert!(code == 1 && said.contains("stdout cannot be written"), "{code}: {said}");
    assert!(folder.path().join("full/cases.csv").exists(), "the run is kept");
    // A profile of which no case could be measured.
    let mut profile = sizewell();
    profile.args(["profile", "--model", "llama-3.1-70b", "--quant", "f32", "--batch", "1", "--prompt", "16"]);
    profile.args(["--gen-tokens", "4", "--no-ceilings", "-o"]).arg(folder.path().join("profile"));
    let (code, said) = status(&mut profile, false);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("no case could be measured"), "{said}");
}
