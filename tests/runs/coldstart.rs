//! Cold starts of a tiny model by the whole program, and what rankings make of them; prices that are fetched and imported
//! by the whole program.

use crate::support::http::{Answer, Server};
use crate::support::tiny::{sizewell, write};
use sizewell::record::Run;
use sizewell::record::coldstart::{PageCache, read};
use std::path::Path;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn each_start_is_a_process_and_a_row_and_rankings_use_it() {
    let work = tempfile::tempdir().unwrap();
    let ((model, _), folder) = (write(work.path()), work.path().join("cold"));
    let model = model.to_str().unwrap();
    let out = sizewell()
        .args(["coldstart", "--model", model, "--repeat", "2", "--prompt", "8", "--threads", "1", "-o"])
        .arg(&folder)
        .output()
        .unwrap();
    let rows = read(&folder).unwrap().unwrap();
    assert_eq!(rows.len(), 4, "{}", text(&out.stderr));
    for row in &rows {
        // A file system without a disk under it cannot forget: then the start is said not to be cold.
        if row.outcome != "ok" {
            assert!(row.cache == PageCache::Cold && row.outcome.contains("not cold"), "{}", row.outcome);
            continue;
        }
        let parts = [row.process_s, row.read_s, row.load_s, row.warm_up_s, row.first_token_s].map(Option::unwrap);
        assert!(parts.iter().all(|t| *t >= 0.0) && row.copy_s.is_none());
        let total = row.total_s.unwrap();
        assert!((parts.iter().sum::<f64>() / total - 1.0).abs() < 0.01, "{row:?}");
    }
    assert!(rows.iter().any(|row| row.cache == PageCache::Warm && row.outcome == "ok"), "{}", text(&out.stdout));
    let cold = rows.iter().any(|row| row.cache == PageCache::Cold && row.total_s.is_some());
    assert!(text(&out.stdout).contains("first token"), "{}", text(&out.stdout));
    let rank = |folders: &[&Path]| {
        let mut command = sizewell();
        command.arg("rank").args(folders).args(["--market", "serverless", "--rps", "0.001", "--format", "csv"]);
        command.output().unwrap()
    };
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/example");
    let of_another_model = rank(&[&example, &folder]);
    if cold {
        assert_eq!(of_another_model.status.code(), Some(2));
        assert!(text(&of_another_model.stderr).contains("another model"), "{}", text(&of_another_model.stderr));
        // The same start under the name of the example's model.
        let path = folder.join("run.json");
        let mut record: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        record["model"]["name"] = "smollm2-135m".into();
        std::fs::write(&path, record.to_string()).unwrap();
        let ranked = |folders: &[&Path]| {
            text(&rank(folders).stdout)
                .lines()
                .any(|line| line.starts_with("ranked") && line.contains("runpod-serverless-flex"))
        };
        assert!(!ranked(&[&example]) && ranked(&[&example, &folder]));
    }
    let out = sizewell().arg("rank").arg(&folder).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("none of the folders has measured cases"));
    assert!(Run::read(&folder).unwrap().record.model.is_some());
}

#[test]
fn a_start_that_fails_is_a_row() {
    let work = tempfile::tempdir().unwrap();
    let (model, _) = write(work.path());
    let args = |more: &[&str]| {
        let mut command = sizewell();
        command.args(["coldstart", "--model", model.to_str().unwrap(), "-o"]).arg(work.path().join("c")).args(more);
        command.output().unwrap()
    };
    assert_eq!(args(&["--repeat", "0"]).status.code(), Some(2));
    assert_eq!(args(&["--device", "gpu"]).status.code(), Some(2));
    // Longer than the model's context.
    let out = args(&["--repeat", "1", "--prompt", "100000"]);
    assert_eq!(out.status.code(), Some(1), "{}", text(&out.stderr));
    let rows = read(&work.path().join("c")).unwrap().unwrap();
    assert!(rows.iter().all(|row| row.total_s.is_none() && row.outcome != "ok"), "{rows:?}");
    assert!(rows.iter().any(|row| row.outcome.contains("context")), "{rows:?}");
}

#[test]
fn the_program_updates_imports_checks_and_then_uses_it() {
    let work = tempfile::tempdir().unwrap();
    let place = work.path().join("catalog");
    let list = "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Region,SpotPrice,Price\n\
        gpu_1x_new,H100,1,26,225,\"{'MemoryInfo': {'SizeInMiB': 81920}}\",us-east-1,,3.33\n"
        .to_string();
    let server = Server::start(move |request, _| match request.path.as_str() {
        "/catalogs/v8/lambda/vms.csv" => Answer::new(200, list.clone()),
        _ => Answer::new(404, ""),
    });
    let command =
        |args: &[&str]| sizewell().env("SIZEWELL_CATALOG", &place).args(["catalog"]).args(args).output().unwrap();
    let endpoint = format!("skypilot={}", server.address);
    // A region that the catalog has 23 prices of, against one: taken for incomplete. A new one is taken.
    let update = |region: &str| {
        command(&["update", "--from", "skypilot", "--provider", "lambda", "--region", region, "--endpoint", &endpoint])
    };
    let out = update("eu-nowhere-1");
    assert_eq!(out.status.code(), Some(1), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("keeps the prices that it had") && !place.exists(), "{}", text(&out.stderr));
    let out = update("us-east-1");
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    let listed = text(&command(&["list", "--provider", "lambda", "--json"]).stdout);
    assert!(listed.contains("gpu_1x_new") && listed.contains("\"3.33\""), "{listed}");
    assert_eq!(command(&["check"]).status.code(), Some(0), "{}", text(&command(&["check"]).stdout));
    let (file, mapping) = (work.path().join("mine.csv"), work.path().join("mine.toml"));
    std::fs::write(&file, "sku,usd\nbox,1.50\n").unwrap();
    let words = "provider = \"mine\"\nclass = \"own\"\nsource = \"a quote\"\nmarket = \"on_demand\"\n\
        observed_at = \"2026-11-01\"\n[columns]\ninstance_type = \"sku\"\nprice = \"usd\"\n";
    std::fs::write(&mapping, words).unwrap();
    let import = || command(&["import", file.to_str().unwrap(), "--mapping", mapping.to_str().unwrap()]);
    assert_eq!(import().status.code(), Some(0), "{}", text(&import().stderr));
    assert!(text(&command(&["list", "--provider", "mine"]).stdout).contains("box"));
    assert!(text(&command(&["list", "--provider", "lambda"]).stdout).contains("gpu_1x_new"), "what was there stays");
    // A file that is broken, and a folder that cannot be written, change nothing.
    std::fs::write(&file, "sku,usd\nbox,dear\n").unwrap();
    assert_eq!(import().status.code(), Some(1));
    std::fs::write(place.join("prices/mine.csv"), "broken").unwrap();
    assert_eq!(command(&["check"]).status.code(), Some(1));
    for (args, part) in [
        (vec!["update", "--provider", "nobody"], "none of the lists"),
        (vec!["update", "--endpoint", "aws=http://example.com"], "neither https"),
        (vec!["update", "--endpoint", "x"], "is not like"),
        (vec!["update", "--from", "nobody"], "invalid value"),
    ] {
        let out = command(&args);
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        assert!(text(&out.stderr).contains(part), "{args:?}: {}", text(&out.stderr));
    }
}
