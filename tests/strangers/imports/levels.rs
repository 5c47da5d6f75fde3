//! Levels of quantization that are not run here: imported, priced and ranked by their names.

use super::*;
use sizewell::sizing::points::RequestedLengths;

#[test]
fn levels_that_are_not_run_here_are_imported_by_their_names() {
    let reading = file("inferencex-precisions.json", &plain());
    let levels: Vec<(&str, usize)> =
        one(&reading).cases.iter().map(|row| (row.key.case.quant.name(), row.key.case.batch)).collect();
    assert_eq!(levels, [("bf16", 4), ("fp8", 4), ("fp4", 4), ("bf16", 16), ("fp8", 16), ("fp4", 16)]);
    assert!(reading.skipped.is_empty());
    let record = |precision: &str| {
        let rows: serde_json::Value = serde_json::from_str(&text_of("inferencex-precisions.json")).unwrap();
        let reading =
            text(&with(&rows[0].to_string(), &[("precision", &format!("\"{precision}\""))]), &plain()).unwrap();
        row(&reading).key.case.quant
    };
    for (precision, bits) in
        [("fp8", 8.0), ("fp4", 4.5), ("nvfp4", 4.5), ("mxfp4", 4.25), ("int4", 4.5), ("w4a16", 4.125)]
    {
        assert_eq!((record(precision).name(), record(precision).bits_per_weight()), (precision, Some(bits)));
    }
    // A level that no table has keeps its name and reads back.
    assert_eq!((record("hqq").name(), record("hqq").bits_per_weight()), ("hqq@unknown", None));
    assert_eq!(level("hqq@unknown"), record("hqq"));
    let shape = Preset::named("llama-3.1-8b").unwrap().shape;
    // Embedding and output matrix stay in 16 bits.
    let ends = (2 * shape.vocab_size * shape.hidden_size) as f64;
    let bytes = |bits: f64| (shape.parameters() - ends) * bits / 8.0 + 2.0 * ends;
    for (name, bits) in [("fp8", 8.0), ("mxfp4", 4.25), ("awq", 4.15625)] {
        let counted = shape.weight_bytes(level(name)).0;
        assert!((counted / bytes(bits) - 1.0).abs() < 1e-3, "{name}: {counted}");
    }
}

#[test]
fn gguf_types_without_kernels_here_keep_their_bits() {
    let base = text_of("llama-bench-split-none.json");
    let read = |kind: &str, bits: f64| {
        let size = format!("{}", (bits / 8.0 * 6_738_415_616.0) as u64);
        let changes = [("model_type", format!("\"llama 7B {kind}\"")), ("model_size", size)];
        let changes = changes.each_ref().map(|(key, value)| (*key, value.as_str()));
        let reading = text(&with(&base, &changes), &plain()).unwrap();
        let row = &one(&reading).cases[0];
        (row.key.case.quant.name(), row.key.case.quant.bits_per_weight().unwrap(), row.notes.clone())
    };
    for (kind, bits, name, nominal) in [
        ("IQ4_XS - 4.25 bpw", 4.46, "iq4_xs", 4.25),
        ("IQ4_NL - 4.5 bpw", 4.7, "iq4_nl", 4.5),
        ("IQ3_XXS - 3.0625 bpw", 3.25, "iq3_xxs", 3.0625),
        ("IQ2_XXS - 2.0625 bpw", 2.3, "iq2_xxs", 2.0625),
        ("IQ1_S - 1.5625 bpw", 1.9, "iq1_s", 1.5625),
        ("TQ1_0 - 1.69 bpw ternary", 1.8, "tq1_0", 1.6875),
        ("TQ2_0 - 2.06 bpw ternary", 2.2, "tq2_0", 2.0625),
        ("Q4_1", 5.1, "q4_1", 5.0),
        ("Q5_0", 5.6, "q5_0", 5.5),
        ("Q5_1", 6.0, "q5_1", 6.0),
        ("MXFP4 MoE", 4.6, "mxfp4", 4.25),
    ] {
        assert_eq!(read(kind, bits), (name, nominal, Vec::new()), "{kind}");
    }
    // The bytes outweigh a name that they do not bear out.
    for kind in ["F16", "BF16", "all F32", "Q8_0"] {
        let (name, bits, notes) = read(kind, 4.5);
        assert_eq!((name, bits), ("mixed@4.50", 4.5), "{kind}");
        assert!(notes[0].contains("its bytes are 4.50 bits a weight"), "{notes:?}");
    }
    assert_eq!(read("Q4_K - Medium", 16.0).0, "mixed@16.00");
    assert_eq!((read("F16", 16.0).0, read("Q4_K - Medium", 4.84).0), ("f16", "int4"));
    let unsloth = with(&base, &[("model_filename", "\"Llama-7B-UD-Q4_K_XL.gguf\"")]);
    assert_eq!(one(&text(&unsloth, &plain()).unwrap()).cases[0].key.case.quant.name(), "ud-q4_k_xl@4.84");
}

#[test]
fn levels_that_are_only_imported_are_not_run() {
    let refused = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_sizewell")).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for arguments in [
        &["profile", "--model", "reference", "--quant", "fp8"][..],
        &["quality", "--model", "reference", "--data", "x.txt", "--quant", "iq2_xs"],
        &["load", "--model", "reference", "--rate", "1", "--quant", "nvfp4"],
        &["coldstart", "--model", "reference", "--quant", "iq4_xs"],
    ] {
        let (code, stderr) = refused(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains("can be imported and ranked, not run"), "{stderr}");
    }
}

#[test]
fn reports_show_levels_that_are_only_imported() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let sizewell =
        |arguments: &[&std::ffi::OsStr]| Command::new(env!("CARGO_BIN_EXE_sizewell")).args(arguments).output().unwrap();
    let file = case("inferencex-precisions.json");
    let import = sizewell(&["import".as_ref(), "auto".as_ref(), file.as_os_str(), "-o".as_ref(), run.as_os_str()]);
    assert!(import.status.success());
    for ending in ["html", "pdf", "xlsx", "md"] {
        let report = folder.path().join(format!("report.{ending}"));
        let done = sizewell(&[
            "report".as_ref(),
            run.as_os_str(),
            "--gpu".as_ref(),
            "h200".as_ref(),
            "-o".as_ref(),
            report.as_os_str(),
        ]);
        assert!(done.status.success(), "{ending}: {}", String::from_utf8_lossy(&done.stderr));
    }
    let markdown = std::fs::read_to_string(folder.path().join("report.md")).unwrap();
    assert!(markdown.contains("fp8") && markdown.contains("fp4"));
}

#[test]
fn a_projection_at_eight_bit_floats_goes_by_the_card_s_rate_for_them() {
    let overrides = Overrides { hardware: Some("NVIDIA H100 80GB HBM3".into()), ..plain() };
    let reading = file("vllm-fp8-model.json", &overrides);
    let mut request = RankRequest::on(jiff::civil::date(2026, 11, 27));
    request.wanted =
        RequestedLengths { prompt_tokens: Some(512), gen_tokens: Some(128), ..RequestedLengths::default() };
    request.gpus = ["h200", "l40s", "a100", "a10g"].map(str::to_string).to_vec();
    let catalog = Catalog::embedded().unwrap();
    let ranked = |reading: &Evidence| rank_runs(&[one(reading)], &catalog, &request).unwrap();
    let ranking = ranked(&reading);
    let time = |card: &str| {
        let mut rows = ranking.rows.iter().filter(|row| row.hardware.contains(card) && row.basis == Basis::Projected);
        rows.next().map(|row| row.ttft_s.value)
    };
    let [h200, l40s, a100, a10g] = ["H200", "L40S", "A100", "A10G"].map(|card| time(card).unwrap());
    // The older two widen the weights to 16 bits: an A100 has nearly the rate of an L40S in those, and half of it in 8.
    assert!(h200 < l40s && l40s < a10g && h200 < a100, "{h200} {l40s} {a100} {a10g}");
    // Of 4-bit floats none of the four has products; what is computed in no known way is not projected.
    let of_level =
        |name: &str| ranked(&text(&text_of("vllm-fp8-model.json").replace("FP8", name), &overrides).unwrap());
    let four = of_level("NVFP4");
    assert!(four.rows.iter().any(|row| row.basis == Basis::Projected && row.hardware.contains("A100")));
    let six = of_level("MXFP6");
    assert!(six.rows.iter().all(|row| row.basis != Basis::Projected));
    assert!(six.excluded.iter().any(|left| left.reason.contains("no rate in mxfp6")));
}
