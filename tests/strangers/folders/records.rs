//! Records that were edited, cut or written by others: what cannot be is an error with file, line and column, and never a
//! number that wins.

use super::{code, edit, example, run, said, set_field};
use std::path::Path;

fn rank(folder: &Path) -> std::process::Output {
    run(&["rank", folder.to_str().unwrap(), "--only", "measured", "--price-per-hour", "0.1"])
}

#[test]
fn an_empty_median_beside_its_interval_is_no_zero_that_wins() {
    let place = tempfile::tempdir().unwrap();
    let folder = example(place.path());
    let whole = rank(&folder);
    assert!(said(&whole).contains("$0.296"), "{}", said(&whole));
    for line in 2..=11 {
        set_field(&folder.join("cases.csv"), line, "ttft_s", "");
    }
    let out = rank(&folder);
    assert_eq!(code(&out), 1, "{}", said(&out));
    assert!(said(&out).contains("cases.csv:2: column `ttft_s` is empty, but `ttft_s_lo` is 0.2476803994995862"));
    assert!(out.stdout.is_empty(), "no ranking is shown");
}

/// A field of the third line of cases.csv, and what is said of it.
const CASES: [(&str, &str, &str); 14] = [
    ("ttft_s_lo", "1.5", "column `ttft_s_lo`: 1.5 is above `ttft_s_hi`"),
    ("ttft_s_hi", "0.1", "column `ttft_s_lo`:"),
    ("tpot_s", "0", "column `tpot_s`: 0 does not lie within its interval"),
    ("tpot_s", "0.5", "column `tpot_s`: 0.5 does not lie within"),
    ("e2e_s", "-1", "column `e2e_s`: -1 cannot be"),
    ("e2e_s", "NaN", "column `e2e_s`: NaN is not a finite number"),
    ("e2e_s", "inf", "column `e2e_s`: inf is not a finite number"),
    ("e2e_s", "1e300", "column `e2e_s`: 1000"),
    ("itl_s_p99", "0.0000001", "column `itl_s_p99`: 0.0000001 is less than"),
    ("decode_tokens_per_s", "", "column `decode_tokens_per_s` is empty, but `decode_tokens_per_s_lo`"),
    ("requests_per_s", "99999", "column `requests_per_s`: 99999 does not lie within"),
    ("peak_device_bytes", "-5", "column `peak_device_bytes`: -5 cannot be"),
    ("valid", "true", "column `valid`: true, although `invalid_reasons` names some"),
    ("reason", "crashed", "column `reason`:"),
];

#[test]
fn a_row_that_cannot_be_names_line_and_column_in_every_reader() {
    for (column, value, why) in CASES {
        let place = tempfile::tempdir().unwrap();
        let folder = example(place.path());
        set_field(&folder.join("cases.csv"), 3, column, value);
        let path = folder.to_str().unwrap();
        let page = place.path().join("r.html");
        let all: [&[&str]; 4] = [
            &["rank", path, "--price-per-hour", "0.1"],
            &["report", path, "-o", page.to_str().unwrap()],
            &["gate", path, "--baseline", path],
            &["diff", path, path],
        ];
        for args in all {
            let out = run(args);
            assert_eq!(code(&out), 1, "{args:?}: {}", said(&out));
            assert!(said(&out).contains(&format!("cases.csv:3: {why}")), "{args:?}: {}", said(&out));
        }
    }
}

#[test]
fn a_time_per_token_of_nothing_is_refused_without_its_interval_too() {
    let place = tempfile::tempdir().unwrap();
    let folder = example(place.path());
    for (column, value) in [("tpot_s", "0"), ("tpot_s_lo", ""), ("tpot_s_hi", "")] {
        set_field(&folder.join("cases.csv"), 4, column, value);
    }
    let out = rank(&folder);
    assert!(code(&out) == 1 && said(&out).contains("cases.csv:4: column `tpot_s`: 0 cannot be of 32 generated tokens"));
}

#[test]
fn a_column_that_stands_twice_and_a_cut_end_are_said() {
    let place = tempfile::tempdir().unwrap();
    let folder = example(place.path());
    edit(&folder.join("cases.csv"), |text| text.replacen(",message,", ",ttft_s,", 1));
    assert!(said(&rank(&folder)).contains("cases.csv:1: column `ttft_s` stands twice"));
    let folder = example(place.path());
    edit(&folder.join("cases.csv"), |text| text.trim_end().to_string());
    let out = rank(&folder);
    assert!(code(&out) == 1 && said(&out).contains("the last line has no end"), "{}", said(&out));
}

/// What stands in run.json, what it is replaced by, and what is said.
const RECORD: [(&str, &str, &str); 16] = [
    (
        "\"usd_per_hour\": null",
        "\"usd_per_hour\": \"-5\"",
        "`environment.instance.usd_per_hour`: -5 USD an hour: a price must be above 0",
    ),
    ("\"usd_per_hour\": null", "\"usd_per_hour\": -5", "invalid type: integer `-5`"),
    (
        "\"usd_per_hour\": null",
        "\"usd_per_hour\": \"0\"",
        "`environment.instance.usd_per_hour`: 0 USD an hour: a price must be above 0",
    ),
    ("\"usd_per_hour\": null", "\"usd_per_hour\": \"1000000000\"", "1000000000 USD an hour: no machine costs more"),
    ("\"engine_threads\": 2", "\"engine_threads\": 0", "`environment.cpu.engine_threads`: 0 threads"),
    ("\"engine_threads\": 2", "\"engine_threads\": -2", "invalid value: integer `-2`"),
    ("\"engine_threads\": 2", "\"engine_threads\": 20000000000", "more than any machine has"),
    ("\"memory_bytes\": 25276502016.0", "\"memory_bytes\": -1.0", "`environment.memory_bytes`: -1 is below 0"),
    ("1048576.0,", "-4096.0,", "`environment.cpu.caches_bytes`: -4096 is below 0"),
    ("\"started_at\": \"2026", "\"started_at\": \"9999", "`started_at`: 9999-11-24"),
    ("\"finished_at\": \"2026", "\"finished_at\": \"-009999", "`finished_at`: -009999-11-24"),
    ("\"finished_at\": \"2026", "\"finished_at\": \"2025", "is before `started_at`"),
    ("\"started_at\": \"2026-11-24T02:06:02.483366614Z\"", "\"started_at\": \"yesterday\"", "run.json:4: "),
    ("\"schema_version\": 1", "\"schema_version\": 0", "`schema_version` is 0: not a run of sizewell"),
    ("\"schema_version\": 1", "\"schema_version\": -1", "`schema_version` is -1: not a run of sizewell"),
    ("\"schema_version\": 1", "\"schema_version\": 99", "schema version 99 is newer than this program's 1"),
];

#[test]
fn a_run_json_that_cannot_be_is_refused_with_its_line() {
    for (before, after, why) in RECORD {
        let place = tempfile::tempdir().unwrap();
        let folder = example(place.path());
        let file = folder.join("run.json");
        edit(&file, |text| text.replacen(before, after, 1));
        let out = run(&["rank", folder.to_str().unwrap()]);
        assert_eq!(code(&out), 1, "{after}: {}", said(&out));
        assert!(said(&out).contains(why), "{after}: {}", said(&out));
        if !why.contains("schema") {
            let text = std::fs::read_to_string(&file).unwrap();
            let key = after.split(':').next().unwrap();
            let line = text.lines().position(|line| line.contains(key)).unwrap() + 1;
            assert!(said(&out).contains(&format!("run.json:{line}: ")), "{after} on line {line}: {}", said(&out));
        }
    }
}

#[test]
fn samples_and_readings_are_held_to_what_can_be() {
    for (column, value, why) in [
        ("phase", "measured", "column `phase`: `measured` is neither warmup nor measure"),
        ("start_s", "-3", "column `start_s`: -3 is below 0"),
        ("ttft_s", "0.001", "column `ttft_s` is not what `token_times_s` says"),
        ("e2e_s", "", "column `e2e_s` is not what `token_times_s` says"),
        ("token_times_s", "0.3;0.2", "column `token_times_s`: a token at 0.2 s stands after one at 0.3 s"),
        ("token_times_s", "0.3;NaN", "column `token_times_s`: `NaN` is not a number"),
    ] {
        let place = tempfile::tempdir().unwrap();
        let folder = example(place.path());
        set_field(&folder.join("samples.csv"), 4, column, value);
        let path = folder.to_str().unwrap();
        let out = run(&["gate", path, "--baseline", path]);
        assert!(code(&out) == 1 && said(&out).contains(&format!("samples.csv:4: {why}")), "{}", said(&out));
    }
    for (line, why) in [
        ("a,0,-1,gpu0,,1,,,,,", "column `time_s`: -1 is below 0"),
        ("a,0,1,gpu0,,-40,,,,,", "column `power_w`: -40 is below 0"),
        ("a,0,1,gpu0,,40,,,,0.5,", "column `foreign_processes` is no whole number"),
        ("a,0,1,gpu0,,40,,,-1,,", "column `memory_used_bytes`: -1 is below 0"),
        ("a,0,1,gpu0,,4e12,,,,,", "column `power_w`: 4e12 is more than can be"),
    ] {
        let place = tempfile::tempdir().unwrap();
        let folder = example(place.path());
        let header = sizewell::record::PowerRow::HEADER.join(",");
        std::fs::write(folder.join("power.csv"), format!("{header}\n{line}\n")).unwrap();
        let page = place.path().join("r.html");
        let out = run(&["report", folder.to_str().unwrap(), "-o", page.to_str().unwrap()]);
        assert!(code(&out) == 1 && said(&out).contains(&format!("power.csv:2: {why}")), "{}", said(&out));
    }
}
