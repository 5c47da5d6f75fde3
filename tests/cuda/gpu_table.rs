//! The table of `scripts/gpu-verify` on recorded folders: goals judged, and parts that are missing or cut off.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A sweep of an 8B model on an H200: bf16 reaches both goals, int8's interval holds that of decoding, int4 misses both.
const CASES: &str = "\
quant,batch,prompt_tokens,gen_tokens,outcome,reason,message,notes,valid,invalid_reasons,tpot_s,tpot_s_lo,tpot_s_hi,ttft_s,\
ttft_s_lo,ttft_s_hi,prefill_ops,achieved_bandwidth_fraction,achieved_flops_fraction,energy_per_token_j,power_w
bf16,1,2048,128,ok,,,,true,,0.0044,0.00439,0.00441,0.055,0.0549,0.0551,3.0e13,0.80,0.69,2.2,500
int8,1,2048,128,ok,,,,true,,0.0026,0.0025,0.0027,0.080,0.079,0.081,3.0e13,0.70,0.47,1.3,480
int4,1,2048,128,ok,,,,true,,0.0025,0.00249,0.00251,0.090,0.089,0.091,3.0e13,0.40,0.42,1.2,460
int4,8,2048,128,ok,,,passes twice,false,noisy,0.010,0.009,0.011,0.7,0.69,0.71,2.4e14,0.10,0.40,,
bf16,8,2048,128,failed,out_of_memory,no room,,,,,,,,,,,,,,
";

struct Recorded(tempfile::TempDir);

impl Recorded {
    fn new() -> Self {
        let recorded = Self(tempfile::tempdir().unwrap());
        recorded.put(
            "call.json",
            r#"{"call": "2", "device": "cuda:0", "ended": "in order", "steps": [
            {"name": "sweep", "state": "ok", "seconds": 300, "word": ""},
            {"name": "energy", "state": "ok", "seconds": 1, "word": ""}]}"#,
        );
        recorded.put("devices.out", r#"{"devices": [{"id": "cuda:0", "name": "NVIDIA H200", "usable": true}],
            "data_sheets": {"cuda:0": {"id": "nvidia/h200-sxm-141", "memory_bandwidth_gb_per_s": 4800.0, "bf16_tflops": 989.0}}}"#);
        recorded.put("ceilings.out", &ceilings(4.2e12, "8192^3 by cuBLASLt, random data"));
        recorded.put(
            "peers.out",
            "{\"torch\": \"2.11\"}\nnot JSON\n\
            {\"peer\": \"gemm_bf16\", \"best\": 8.0e14, \"median\": 7.9e14, \"unit\": \"op/s\"}\n\
            {\"peer\": \"gemm_fp8\", \"error\": \"RuntimeError: no\"}\n",
        );
        recorded.put("sweep/run.json", r#"{"model": {"parameters": 8030261248.0}, "ceilings": []}"#);
        recorded.put("sweep/cases.csv", CASES);
        recorded.put(
            "unmetered/cases.csv",
            &(CASES.lines().take(2).collect::<Vec<_>>().join("\n") + "\n").replace("0.0044,", "0.00438,"),
        );
        recorded
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn table(&self) -> String {
        let script: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/gpu/table.py");
        let output = Command::new("python3").arg(script).arg(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

fn ceilings(read: f64, how: &str) -> String {
    format!(
        r#"[{{"kind": "read_bandwidth", "device": "cuda:0", "best": {read}, "median": 4.1e12, "how": "arrays"}},
        {{"kind": "tensor_bf16", "device": "cuda:0", "best": 7.2e14, "median": 7.1e14, "how": "wgmma"}},
        {{"kind": "gemm_bf16", "device": "cuda:0", "best": 7.8e14, "median": 7.7e14, "how": "{how}"}},
        {{"kind": "gemm_f16", "device": "cuda:0", "best": 7.8e14, "median": 7.7e14, "how": "{how}"}},
        {{"kind": "read_bandwidth", "device": "cuda:1", "best": 9e13, "median": 9e13, "how": "another card"}}]"#
    )
}

fn has(table: &str, lines: &[&str]) {
    for wanted in lines {
        assert!(table.lines().any(|line| line.trim() == *wanted), "{wanted}\n{table}");
    }
}

fn no_python() -> bool {
    Command::new("python3").arg("--version").output().is_err()
}

#[test]
fn goals_are_judged_by_figures_and_their_intervals() {
    if no_python() {
        return;
    }
    let recorded = Recorded::new();
    let table = recorded.table();
    has(
        &table,
        &[
            // 4.2 of 4.8 TB/s: the other card's figure is not this one's.
            "read bandwidth from 90% of the data sheet: no: 87.5%",
            // Of the better of both calls of cuBLAS: PyTorch's 800.
            "bf16 tensor cores from 85% of cuBLAS: yes: 90.0%",
            "batch-1 decode in bf16 from 70% of the read bandwidth: yes: 80.0%",
            "batch-1 decode in int8 from 70% of the read bandwidth: cannot tell: 70.0%, the 95 % interval of 67.4% to 72.8% holds \
         the goal",
            "batch-1 decode in int4 from 70% of the read bandwidth: no: 40.0%",
            // 3.0e13 operations in 55 ms of 800 TFLOP/s; the others of 780 in f16.
            "prefill in bf16 from 60% of the GEMM rate: yes: 68.2%",
            "prefill in int8 from 60% of the GEMM rate: no: 48.1%",
            "metering costs +0.46% of a token's time, give or take 0.46% (goal: below 1 %)",
        ],
    );
    assert!(table.contains("doubtful: noisy; passes twice") && table.contains("out_of_memory; no room"), "{table}");
    assert!(table.contains("gemm_fp8") && table.contains("RuntimeError: no"), "{table}");
}

#[test]
fn what_is_missing_doubtful_or_of_something_else_is_no_verdict() {
    if no_python() {
        return;
    }
    let recorded = Recorded::new();
    // Without cuBLAS from anywhere, the project's own product is nothing to hold a prefill against.
    recorded.put("ceilings.out", &ceilings(4.4e12, "8192^3 by the project's own kernel, random data"));
    recorded.put("peers.out", "");
    recorded.put("sweep/cases.csv", &CASES.replacen("ok,,,,true,", "ok,,,,false,unsteady", 1));
    let table = recorded.table();
    has(
        &table,
        &[
            "read bandwidth from 90% of the data sheet: yes: 91.7%",
            "bf16 tensor cores from 85% of cuBLAS: cannot tell: neither cuBLASLt nor PyTorch gave a product to compare with",
            "batch-1 decode in bf16 from 70% of the read bandwidth: cannot tell: the row is doubtful (unsteady)",
            "prefill in int4 from 60% of the GEMM rate: cannot tell: cuBLASLt's rate was not measured",
        ],
    );
    assert!(table.contains("what metering costs: cannot tell, as one of both rows is doubtful"), "{table}");
    recorded.put("sweep/run.json", r#"{"model": {"parameters": 1.2e9}, "ceilings": []}"#);
    recorded.put("devices.out", r#"{"devices": [{"id": "cuda:0", "name": "Some GPU", "usable": true}]}"#);
    let table = recorded.table();
    has(
        &table,
        &[
            "read bandwidth from 90% of the data sheet: cannot tell: the catalog has no bandwidth of Some GPU",
            "batch-1 decode in int8 from 70% of the read bandwidth: cannot tell: the goal is of a model with 8 billion weights, \
         this one has 1.2e+09",
        ],
    );
    // Files that a killed step has cut off, and none at all.
    for name in ["devices.out", "ceilings.out", "sweep/run.json", "call.json"] {
        recorded.put(name, "{\"half\": [");
    }
    recorded.put("sweep/cases.csv", &CASES[..CASES.len() / 2]);
    recorded.put("projection.out", "{\"quant\": \"bf16\"}\n{\"qu");
    let table = recorded.table();
    has(&table, &["read bandwidth from 90% of the data sheet: cannot tell: the read bandwidth was not measured"]);
    assert!(!table.contains("yes:") && table.contains("The list"), "{table}");
    let empty = Recorded(tempfile::tempdir().unwrap()).table();
    assert!(empty.contains("unknown card") && !empty.contains("yes:") && !empty.contains("no:"), "{empty}");
}

#[test]
fn both_meters_and_a_projection_are_in_the_table() {
    if no_python() {
        return;
    }
    let recorded = Recorded::new();
    recorded.put(
        "energy.out",
        "sensor: {} idle: 70 W\na window 0: counter 500.0 W, readings 505.0 W, ratio 1.0100\n\
        a window 1: counter 500.0 W, readings 495.0 W, ratio 0.9900\na: reported 500.0 W, ratio 1.0000\n",
    );
    recorded.put("projection.out", r#"{"quant": "bf16", "batch": 1, "from": "NVIDIA H200", "to": "nvidia/h100-sxm-80", "tier": "X",
        "tpot_s": {"predicted": {"value": 0.006, "lo": 0.005, "hi": 0.007}, "measured": 0.0064, "error": -0.0625, "within": true}}
        "#.replace('\n', " ").trim());
    let table = recorded.table();
    has(
        &table,
        &[
            "a: reported 500.0 W, ratio 1.0000",
            "2 windows: readings over counter 0.9900 to 1.0100",
            "from NVIDIA H200 to nvidia/h100-sxm-80",
        ],
    );
    let row = |table: &str| {
        let line = table.lines().find(|l| l.contains("bf16 b1 TPOT")).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row(&table), "bf16 b1 TPOT 6 ms 5 ms to 7 ms 6.4 ms -6.2% yes X");
    // Of a doubtful row nothing is judged.
    let projection = std::fs::read_to_string(recorded.0.path().join("projection.out")).unwrap();
    recorded.put("projection.out", &projection.replace("true", "null"));
    assert_eq!(row(&recorded.table()), "bf16 b1 TPOT 6 ms 5 ms to 7 ms 6.4 ms -6.2% doubtful X");
}
