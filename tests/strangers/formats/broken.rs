//! Files as they come: with logs in them, cut short, with records that are none, in other encodings, or made to fill memory.

use super::{asked, case, file, read, read_bytes, rows, said, shape, times};
use sizewell::evidence::{self, Overrides};
use std::io::Write;
use std::path::Path;
use std::process::Command;

fn vllm() -> String {
    std::fs::read_to_string(case("vllm-good.json")).unwrap()
}

#[test]
fn logs_around_records_are_passed_over_and_counted() {
    for (name, count, lines) in [("llama-bench-log-first.jsonl", 2, 2), ("lb-with-log.json", 1, 3)] {
        let reading = evidence::read_files(&[case(name)], None, &Overrides::default()).unwrap();
        assert_eq!(rows(&reading).len(), count, "{name}");
        let first = if count == 2 {
            "ggml_cuda_init: found 1 CUDA devices:"
        } else {
            "ggml_cuda_init: GGML_CUDA_FORCE_MMQ:    no"
        };
        assert_eq!(said(&reading), format!("{lines} lines that are not JSON, such as `{first}`\n"));
    }
    // A log of more than what is looked at to recognise a file, in front of it and behind it.
    let log = "INFO [loader] weights, shards: 4\n".repeat(1000);
    let reading = read("a.json", &format!("{log}{}\n{log}", vllm())).unwrap();
    assert_eq!((shape(rows(&reading)[0]), said(&reading).starts_with("2000 lines")), ((8, 512, 128), true));
}

#[test]
fn python_s_numbers_that_are_none_are_absent() {
    let reading = file("vllm-nan.json").unwrap();
    assert_eq!(times(rows(&reading)[0]), [Some(100.0), Some(10.0), Some(1370.0)]);
    // The median itself: the record has no time to the first token.
    let why = file("vllm-nan-median.json").unwrap_err();
    assert!(why.contains("median"), "{why}");
    let all_at_once = file("vllm-inf-rate.json").unwrap();
    assert_eq!(all_at_once.runs[0].record.arrival, "offline");
    let minus = read("a.json", &vllm().replace("\"std_ttft_ms\": 1.0", "\"std_ttft_ms\": -Infinity")).unwrap();
    assert_eq!(rows(&minus).len(), 1);
}

#[test]
fn a_bad_record_never_costs_the_good_ones() {
    let good = vllm().replace('\n', "");
    let no_model = good.replace("\"model_id\"", "\"model_name\"");
    let twice = good.replacen("\"duration\": 50.0", "\"duration\": 50.0, \"duration\": 5.0", 1);
    let cut = &good[..good.len() / 2];
    let text = format!("{good}\n{no_model}\n{no_model}\n{twice}\n{{\"level\":\"info\"}}\n{good}{good}\n{cut}\n");
    let reading = read("a.jsonl", &text).unwrap();
    assert_eq!(shape(rows(&reading)[0]), (8, 512, 128));
    let said = said(&reading);
    assert!(said.contains("3 that cannot be read: missing field `model_id` (the first: record 2)"), "{said}");
    assert!(said.contains("`duration` stands in it twice, with different values (the first: line 4)"), "{said}");
    assert!(
        said.contains("1 that cannot be read: EOF: the file ends in the middle of it (the first: line 7)"),
        "{said}"
    );
    let list = read("a.json", &format!("[{good}, null, {no_model}]")).unwrap();
    assert!(super::said(&list).contains("1 that cannot be read: it is not an object"));
}

#[test]
fn a_broken_list_is_refused_with_its_line() {
    let why = file("llama-bench-cut-short.json").unwrap_err();
    assert!(why.contains("llama-bench-cut-short.json, line 57: EOF: the file ends in the middle of a list"), "{why}");
    assert!(why.contains("behind 1 whole records"), "{why}");
    let comma = read("a.json", &format!("[\n{},\n]", vllm())).unwrap_err();
    let lines = vllm().lines().count();
    assert!(comma.contains(&format!("line {}: a comma with nothing behind it", lines + 1)), "{comma}");
    let inner = read("a.json", &vllm().replace("3000.0\n}", "3000.0,\n}")).unwrap_err();
    assert!(inner.contains(&format!("line {lines}: trailing comma")), "{inner}");
    let deep =
        format!("{{\"model_id\":1,\"request_rate\":2,\"request_throughput\":3,\"_ttft_ms\":{}", "[".repeat(1 << 20));
    assert!(read("a.json", &deep).unwrap_err().contains("nested more than 128 deep"));
}

#[test]
fn files_in_other_encodings_are_read_or_named() {
    let wide = |swap: bool| -> Vec<u8> {
        let mark = if swap { vec![0xfe, 0xff] } else { vec![0xff, 0xfe] };
        let unit = |unit: u16| if swap { unit.to_be_bytes() } else { unit.to_le_bytes() };
        mark.into_iter().chain(vllm().encode_utf16().flat_map(unit)).collect()
    };
    let with_mark = [b"\xef\xbb\xbf".as_slice(), vllm().as_bytes()].concat();
    for bytes in [wide(false), wide(true), with_mark, vllm().replace('\n', "\r\n").into_bytes()] {
        let reading = read_bytes("a.json", &bytes, &asked()).unwrap();
        assert_eq!((shape(rows(&reading)[0]), said(&reading).as_str()), ((8, 512, 128), ""));
    }
    let latin: Vec<u8> = vllm()
        .replace("\"label\": null", "\"label\": \"@\"")
        .bytes()
        .map(|b| if b == b'@' { 0xe9 } else { b })
        .collect();
    let why = read_bytes("a.json", &latin, &asked()).unwrap_err();
    assert!(why.contains("byte 0xe9 on line 5 is not UTF-8: the file is in Latin-1 or another code page"), "{why}");
    assert!(read_bytes("a.json", b"PAR1", &asked()).unwrap_err().contains("it is a Parquet file"));
    // Packed, whatever its name says.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(vllm().as_bytes()).unwrap();
    assert_eq!(rows(&read_bytes("a.json", &gzip.finish().unwrap(), &asked()).unwrap()).len(), 1);
}

const CSV: &str = "build_commit;build_number;cpu_info;gpu_info;backends;model_filename;model_type;model_size;model_n_params;\
    n_threads;n_gpu_layers;n_prompt;n_gen;n_depth;avg_ts;stddev_ts\n";

#[test]
fn semicolons_and_logs_in_csv() {
    let row = |rate: &str| {
        format!("a1;1;CPU;NVIDIA L4;CUDA;m.gguf;llama 7B Q4_0;3825065984;6738415616;4;99;512;0;0;{rate};1\n")
    };
    let log = "ggml_cuda_init: found 1 CUDA devices:\n  Device 0: NVIDIA L4, compute capability 8.9, VMM: yes\n";
    let text = format!("{log}{CSV}{}{}{}", row("900.0"), row("900,5"), "a;b;c\n");
    let reading = read_bytes("a.csv", text.as_bytes(), &Overrides::default()).unwrap();
    assert_eq!(rows(&reading).len(), 1);
    assert_eq!(rows(&reading)[0].metrics.prefill_tokens_per_s.unwrap().value.0, 900.0);
    let said = said(&reading);
    assert!(said.contains("1 that cannot be read: a number with a comma in it"), "{said}");
    assert!(said.contains("1 that cannot be read: 3 fields where the header has 16 (the first: record 3)"), "{said}");
    assert!(said.contains("2 lines that are not JSON"), "{said}");
}

#[test]
fn one_bad_file_never_costs_the_good_ones() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("run");
    let import = |files: &[&str]| {
        let run = Command::new(env!("CARGO_BIN_EXE_sizewell"))
            .arg("import")
            .arg("auto")
            .args(files.iter().map(|name| case(name)))
            .args(["--quant", "bf16", "-o"])
            .arg(&output)
            .output()
            .unwrap();
        let _ = std::fs::remove_dir_all(&output);
        (run.status.code(), String::from_utf8_lossy(&run.stderr).into_owned())
    };
    for files in [["vllm-good.json", "vllm-all-failed.json"], ["vllm-all-failed.json", "vllm-good.json"]] {
        let (code, said) = import(&files);
        assert_eq!(code, Some(0), "{said}");
        assert!(
            said.contains("left out: ") && said.contains("vllm-all-failed.json") && said.contains("no request"),
            "{said}"
        );
    }
    let (code, said) = import(&["vllm-all-failed.json", "llama-bench-cut-short.json"]);
    assert_eq!(code, Some(1), "{said}");
}

/// Highest resident memory of a command in MiB, its exit status, and what it said.
#[cfg(target_os = "linux")]
// It is waited for by `wait4`, which tells its memory.
#[allow(clippy::zombie_processes)]
fn peak(command: &mut Command) -> (u64, i32, String) {
    use std::io::Read;
    let mut child = command.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::null()).spawn().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    // SAFETY: numbers, for which zero is a value.
    let (mut status, mut usage) = (0, unsafe { std::mem::zeroed::<libc::rusage>() });
    // SAFETY: both places are of the types that the call writes.
    let waited = unsafe { libc::wait4(child.id() as i32, &mut status, 0, &mut usage) };
    assert_eq!(waited, child.id() as i32);
    (usage.ru_maxrss as u64 >> 10, libc::WEXITSTATUS(status), said)
}

#[cfg(target_os = "linux")]
fn import_of(path: &Path, folder: &Path) -> (u64, i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sizewell"));
    peak(command.args(["import", "auto"]).arg(path).arg("-o").arg(folder.join("run")))
}

#[cfg(target_os = "linux")]
#[test]
fn what_unpacks_to_gigabytes_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let mut part = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    part.write_all(&vec![b'a'; 1 << 20]).unwrap();
    let path = folder.path().join("bomb.csv.gz");
    // 3 GB out of 3 MB.
    std::fs::write(&path, part.finish().unwrap().repeat(3000)).unwrap();
    let (mib, code, said) = import_of(&path, folder.path());
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("bomb.csv.gz: cannot be decompressed: it has more than 256 MiB"), "{said}");
    assert!(mib < 800, "{mib} MiB");
}

#[cfg(target_os = "linux")]
#[test]
fn what_swells_in_memory_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("swell.json");
    // Objects of eight letters that take 700 bytes each, in one record and in many.
    let head = "{\"model_id\":1,\"request_rate\":2,\"request_throughput\":3,\"a_ttft_ms\":";
    let one = format!("{head}[{}0]}}", "{\"\":0},".repeat(8 << 20));
    std::fs::write(&path, one).unwrap();
    let (mib, code, said) = import_of(&path, folder.path());
    assert!(code == 1 && said.contains("takes more memory than a record of a result does"), "{said}");
    assert!(mib < 1400, "{mib} MiB");
    let inner = "{\"\":0},".repeat(1000);
    let many = format!("{head}[{inner}0]}}\n").repeat(9000);
    std::fs::write(&path, many).unwrap();
    let (mib, code, said) = import_of(&path, folder.path());
    assert!(code == 1 && said.contains("more than fit into 1 GiB"), "{said}");
    assert!(mib < 400, "{mib} MiB: records are let go one by one");
}

#[test]
fn a_list_in_a_zip_that_unpacks_to_gigabytes_is_stopped() {
    use crate::support::http::{Answer, Server};
    use sizewell::catalog::tables::Tables;
    use sizewell::catalog::update::{List, Request, update};
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    writer.start_file("lambdalabs.csv", zip::write::SimpleFileOptions::default()).unwrap();
    writer.write_all(b"instance_name,location,price,cpu,memory,gpu_count,gpu_name,gpu_memory,spot\n").unwrap();
    let part = vec![b'a'; 1 << 20];
    (0..300).for_each(|_| writer.write_all(&part).unwrap());
    let bomb = writer.finish().unwrap().into_inner();
    let server = Server::start(move |request, _| {
        if request.path.ends_with("/version") {
            Answer::new(200, "20261120-42\n")
        } else {
            Answer::new(200, bomb.clone())
        }
    });
    let (mut tables, _) = Tables::read("", &sizewell::catalog::load::embedded_files());
    let request = Request {
        lists: vec![List::Gpuhunt],
        providers: vec!["lambda".to_string()],
        regions: Vec::new(),
        endpoints: std::collections::BTreeMap::from([(List::Gpuhunt, server.address.clone())]),
        timeout: std::time::Duration::from_secs(20),
        today: jiff::civil::date(2026, 11, 24),
    };
    let why = update(&mut tables, &request, |_| {}).remove(0).error.unwrap();
    assert!(why.contains("lambdalabs.csv: it unpacks to more than 25") && why.contains("times its size"), "{why}");
}
