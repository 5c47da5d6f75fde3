//! The gate as a CI runs it: the action's script with its variables, statuses, annotations, summary and outputs; and a run that has
//! nothing to judge or to rank.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The action on the example run against itself.
fn act(folder: &Path, policy: &str, variables: &[(&str, &str)]) -> Output {
    let (run, rules) = (root().join("results/example"), folder.join("gate.toml"));
    std::fs::write(&rules, policy).unwrap();
    Command::new(root().join("scripts/gate-action"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("SIZEWELL_BINARY", env!("CARGO_BIN_EXE_sizewell"))
        .env("SIZEWELL_RUN", format!("{}\n", run.display()))
        .env("SIZEWELL_BASELINE", run)
        .env("SIZEWELL_POLICY", rules)
        .env("SIZEWELL_JUNIT", folder.join("gate.xml"))
        .env("SIZEWELL_MARKDOWN", folder.join("gate.md"))
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_OUTPUT", folder.join("output"))
        .env("GITHUB_STEP_SUMMARY", folder.join("summary.md"))
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

const ALL_DOUBTS: &str = "accept = [\"unsteady\", \"noisy\", \"foreign_load\", \"stolen_cpu\", \"too_few_samples\"]\n";

#[test]
fn a_run_against_itself_passes_where_its_doubts_are_accepted_and_is_invalid_where_not() {
    let folder = tempfile::tempdir().unwrap();
    let rule = "[[rule]]\nmetric = \"peak_device_bytes\"\nmax_regression = \"5%\"\n";
    let passed = act(folder.path(), &format!("{ALL_DOUBTS}{rule}"), &[]);
    assert_eq!(passed.status.code(), Some(0), "{}", String::from_utf8_lossy(&passed.stdout));
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(read("output").contains("verdict=pass"));
    assert!(read("summary.md").contains("Gate: pass") && read("gate.md").contains("Gate: pass"));
    assert!(read("gate.xml").contains("failures=\"0\" errors=\"0\""), "{}", read("gate.xml"));
    let invalid = act(folder.path(), rule, &[]);
    assert_eq!(invalid.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&invalid.stdout).contains("::error title=sizewell gate%2C invalid"));
}

#[test]
fn a_limit_that_is_broken_fails_and_what_cannot_be_told_may_be_let_through() {
    let folder = tempfile::tempdir().unwrap();
    let broken = act(folder.path(), &format!("{ALL_DOUBTS}[[rule]]\nmetric = \"tpot_s\"\nmax = \"1us\"\n"), &[]);
    assert_eq!(broken.status.code(), Some(3));
    let stdout = String::from_utf8_lossy(&broken.stdout).into_owned();
    assert!(stdout.contains("::error title=sizewell gate%2C fail"), "{stdout}");
    let output = std::fs::read_to_string(folder.path().join("output")).unwrap();
    assert!(output.contains("verdict=fail"));
    // A load was observed once: nothing says how much it varies.
    let once = format!("{ALL_DOUBTS}[[rule]]\nmetric = \"load_s\"\nmax = \"1h\"\n").replace("1h", "1000s");
    assert_eq!(act(folder.path(), &once, &[]).status.code(), Some(4));
    assert_eq!(act(folder.path(), &once, &[("SIZEWELL_CANNOT_TELL", "pass")]).status.code(), Some(0));
}

#[test]
fn a_policy_with_a_slip_is_wrong_usage_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = act(folder.path(), "[[rule]]\nmetric = \"tpot_s\"\nmaximum = 1\n", &[]);
    assert_eq!(wrong.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(
        stderr.contains("gate.toml:3: unknown field `maximum`") && stderr.contains("did you mean `max`?"),
        "{stderr}"
    );
}

#[test]
fn the_example_policy_is_one_and_the_action_runs_the_script() {
    sizewell::gate::Policy::read(&root().join("examples/gate.toml")).unwrap();
    let action = std::fs::read_to_string(root().join("action.yml")).unwrap();
    assert!(action.contains("run: '\"$GITHUB_ACTION_PATH/scripts/gate-action\"'"));
    let script = std::fs::read_to_string(root().join("scripts/gate-action")).unwrap();
    // Every variable that the action sets is one that the script reads.
    for name in action.split("SIZEWELL_").skip(1).map(|part| part.split(':').next().unwrap()) {
        assert!(script.contains(&format!("SIZEWELL_{name}")), "{name}");
    }
    let workflow = std::fs::read_to_string(root().join("examples/gate-workflow.yml")).unwrap();
    assert!(workflow.contains("uses: ./sizewell"));
}

/// A run whose every case is lost still has a report, in every form, which says why there is no ranking.
#[test]
fn a_run_without_a_case_has_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let example = root().join("results/example");
    std::fs::copy(example.join("run.json"), folder.path().join("run.json")).unwrap();
    let cases = std::fs::read_to_string(example.join("cases.csv")).unwrap();
    std::fs::write(folder.path().join("cases.csv"), format!("{}\n", cases.lines().next().unwrap())).unwrap();
    let page = folder.path().join("report.md");
    let output = Command::new(env!("CARGO_BIN_EXE_sizewell"))
        .args(["report".as_ref(), folder.path().as_os_str(), "-o".as_ref(), page.as_os_str()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(std::fs::read_to_string(page).unwrap().contains("No ranking: no case was measured"));
}
