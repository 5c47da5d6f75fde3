//! Writing results: to stdout, and into the files that a command line names.

use super::console::printable_lines;
use super::usage;
use crate::record::{Run, atomic_file};
use crate::report::table::Table;
use crate::report::{content, terminal};
use anyhow::Context;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Width for output that no terminal limits.
const PIPE_WIDTH: u16 = 160;

/// Whoever read our output has seen enough (`sizewell models list | head -1`).
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Writes text. Where its reader has gone, the rest is for nobody, and the command goes on to its own end: what it finds is
/// no better or worse for that.
pub(crate) fn text(text: &str) -> anyhow::Result<()> {
    write(&printable_lines(text))
}

fn write(text: &str) -> anyhow::Result<()> {
    if CLOSED.load(Ordering::Relaxed) {
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            CLOSED.store(true, Ordering::Relaxed);
            Ok(())
        }
        written => written.context("stdout cannot be written"),
    }
}

/// Writes a table as wide as the terminal.
pub(crate) fn table(table: &Table) -> anyhow::Result<()> {
    // On a terminal the table library asks for the width itself.
    let width = if std::io::stdout().is_terminal() { None } else { Some(PIPE_WIDTH) };
    text(&terminal::render(table, width))
}

/// Writes JSON. What a terminal would obey is written by its number, which reads back as the same.
pub(crate) fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    let show = |c: char| match c {
        '\n' => c.to_string(),
        c if c.is_control() || terminal::is_unseen(c) => format!("\\u{:04x}", c as u32),
        c => c.to_string(),
    };
    write(&(text.chars().map(show).collect::<String>() + "\n"))
}

/// Writes what one run is as JSON; of several, an array.
pub(crate) fn one_or_all(values: &[serde_json::Value]) -> anyhow::Result<()> {
    match values {
        [one] => json(one),
        all => json(&all),
    }
}

/// Writes several runs side by side; nothing for one.
pub(crate) fn comparison(runs: &[&Run]) -> anyhow::Result<()> {
    content::series(runs).map_or(Ok(()), |side_by_side| table(&side_by_side))
}

/// Files of a run folder that nothing but a measurement writes.
const RECORD: [&str; 12] = [
    "run.json",
    "run.json.new",
    "cases.csv",
    "samples.csv",
    "power.csv",
    "quality.csv",
    "quality_items.csv",
    "coldstart.csv",
    "requests.csv",
    "drift.jsonl",
    "weights.gguf",
    "run.lock",
];

/// Refuses outputs that would take the place of what was read, of a part of a record, or of each other.
pub(crate) fn check_files(outputs: &[&Path], inputs: &[&Path]) -> anyhow::Result<()> {
    for (index, output) in outputs.iter().enumerate() {
        if is_of_a_record(output) {
            return usage(format!("{} is a part of a run: choose another name", output.display()));
        }
        if let Some(input) = inputs.iter().find(|input| !input.is_dir() && same(input, output)) {
            return usage(format!("{} is read too ({}): choose another name", output.display(), input.display()));
        }
        if outputs[..index].iter().any(|other| same(other, output)) {
            return usage(format!("{} is named twice", output.display()));
        }
    }
    Ok(())
}

/// Whether a path names a file that belongs to a run folder's record.
pub(crate) fn is_of_a_record(path: &Path) -> bool {
    let real = real(path);
    let (Some(folder), Some(name)) = (real.parent(), real.file_name()) else { return false };
    let name = name.to_string_lossy();
    folder.join("run.json").exists() && (RECORD.contains(&name.as_ref()) || name.ends_with(".token_counts.csv"))
}

/// Where a path leads; of one that is not there yet, by its folder.
fn real(path: &Path) -> PathBuf {
    let of_folder = || {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(std::fs::canonicalize(folder).ok()?.join(path.file_name()?))
    };
    std::fs::canonicalize(path).ok().or_else(of_folder).unwrap_or(path.to_path_buf())
}

fn same(a: &Path, b: &Path) -> bool {
    #[cfg(unix)]
    if let (Ok(a), Ok(b)) = (std::fs::metadata(a), std::fs::metadata(b)) {
        use std::os::unix::fs::MetadataExt;
        // Two names of one file, too.
        return a.is_file() && (a.dev(), a.ino()) == (b.dev(), b.ino());
    }
    real(a) == real(b)
}

/// Writes a file that the user named: whole or not at all, and through no link. A device or a pipe is written to as it is.
pub(crate) fn file(path: &Path, contents: &[u8]) -> anyhow::Result<()> {
    let is_special = std::fs::metadata(path).is_ok_and(|found| !found.is_file());
    let of_process = path.starts_with("/dev") || path.starts_with("/proc");
    let written =
        if is_special || of_process { std::fs::write(path, contents) } else { atomic_file::write(path, contents) };
    written.with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_output_takes_the_place_of_a_record_or_of_what_is_read() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for name in ["run.json", "cases.csv", "p.toml"] {
            std::fs::write(at(name), "x").unwrap();
        }
        let refused = |output: &Path, inputs: &[&Path]| check_files(&[output], inputs).unwrap_err().to_string();
        // Though it is not there yet.
        for name in ["run.json", "cases.csv", "power.csv", "drift.jsonl", "text.token_counts.csv"] {
            assert!(refused(&at(name), &[]).contains("is a part of a run"), "{name}");
        }
        assert!(refused(&at("p.toml"), &[&at("p.toml")]).contains("is read too"));
        std::fs::hard_link(at("p.toml"), at("other")).unwrap();
        assert!(refused(&at("other"), &[&at("p.toml")]).contains("is read too"));
        assert!(check_files(&[&at("a"), &at("a")], &[]).unwrap_err().to_string().contains("named twice"));
        check_files(&[&at("report.html"), &at("verdict.xml")], &[place.path()]).unwrap();
    }
}
