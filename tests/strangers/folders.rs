//! Run folders, traces, prompts and the command line.

mod places;
mod records;
mod resume;
mod suggestions;
mod terminal;
mod traffic;

use super::support::tiny::sizewell;
use std::path::{Path, PathBuf};
use std::process::Output;

/// The program with these arguments.
fn run(args: &[&str]) -> Output {
    sizewell().args(args).output().unwrap()
}

/// What it said on both, for messages of failed tests and for what is said.
fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

/// A copy of the example run that ships with the project.
fn example(into: &Path) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/example");
    let folder = into.join("run");
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["run.json", "cases.csv", "samples.csv", "power.csv"] {
        std::fs::copy(from.join(name), folder.join(name)).unwrap();
    }
    folder
}

/// A file with a change in it, which must be one.
fn edit(file: &Path, change: impl Fn(&str) -> String) {
    let before = std::fs::read_to_string(file).unwrap();
    let after = change(&before);
    assert_ne!(before, after, "{} was changed", file.display());
    std::fs::write(file, after).unwrap();
}

/// A CSV file with one field of one line (from 1, the header) changed.
fn set_field(file: &Path, line: usize, column: &str, value: &str) {
    edit(file, |text| {
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
        let mut rows: Vec<Vec<String>> =
            reader.records().map(|row| row.unwrap().iter().map(str::to_string).collect()).collect();
        let at = rows[0].iter().position(|name| name == column).unwrap();
        rows[line - 1][at] = value.to_string();
        let mut writer = csv::Writer::from_writer(Vec::new());
        rows.iter().for_each(|row| writer.write_record(row).unwrap());
        String::from_utf8(writer.into_inner().unwrap()).unwrap()
    });
}
