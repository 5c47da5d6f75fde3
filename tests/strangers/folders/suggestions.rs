//! What messages suggest exists: an option that is named in a text of the program is one of its own, and of the command
//! that says it.

use clap::CommandFactory;
use sizewell::cli::Cli;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Options of other tools, which messages about their files name.
const OTHERS: [&str; 9] = [
    "--features",
    "--merge",
    "--output-file",
    "--output-format",
    "--output-path",
    "--report",
    "--save-result",
    "--streaming",
    "--no-build-isolation",
];

/// The commands whose code stands in a file of `src/cli` or a folder of `src/job`, where it is not that of its name.
const SHARED: [(&str, &[&str]); 4] = [
    ("rank_args", &["rank", "plan", "report"]),
    ("measure_args", &["run", "profile"]),
    ("profile", &["run", "profile"]),
    ("drift", &["quality"]),
];

fn options(command: &clap::Command) -> BTreeSet<String> {
    let own = command.get_arguments().flat_map(|arg| {
        let aliases = arg.get_all_aliases().unwrap_or_default();
        arg.get_long().into_iter().chain(aliases).map(|name| format!("--{name}")).collect::<Vec<_>>()
    });
    own.chain(["--help".to_string(), "--quiet".to_string(), "--version".to_string()])
        .chain(command.get_subcommands().flat_map(options))
        .collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
        .collect()
}

/// Options that texts of a file name: within quotes, comments and tests left out. Those of another command, which the text
/// names before, are not told apart from its own.
fn named(source: &str) -> BTreeSet<String> {
    let code = source.split("#[cfg(test)]\nmod tests").next().unwrap_or(source);
    let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for (index, text) in code.split('"').enumerate() {
        if index % 2 == 0 || text.contains("sizewell ") {
            continue;
        }
        for (at, _) in text.match_indices("--") {
            let is_start = !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '-');
            let word: String = text[at + 2..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            if is_start && word.starts_with(|c: char| c.is_ascii_lowercase()) {
                found.insert(format!("--{}", word.trim_end_matches('-')));
            }
        }
    }
    found
}

#[test]
fn every_option_that_is_suggested_exists_in_the_command_that_says_so() {
    let command = Cli::command();
    let by_verb: BTreeMap<String, BTreeSet<String>> =
        command.get_subcommands().map(|verb| (verb.get_name().to_string(), options(verb))).collect();
    let all: BTreeSet<String> = by_verb.values().flatten().cloned().collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = ["src", "crates/record/src", "crates/engine/src", "crates/sizing/src"].map(|name| root.join(name));
    let (mut seen, mut wrong) = (0, Vec::new());
    for path in sources.iter().flat_map(|source| files(source)) {
        let Some(place) = sources.iter().find_map(|source| path.strip_prefix(source).ok()) else { continue };
        // What to do with files of other tools is said in their words.
        if place == Path::new("evidence/known.rs") {
            continue;
        }
        let names = named(&std::fs::read_to_string(&path).unwrap());
        for name in names.iter().filter(|name| !OTHERS.contains(&name.as_str())) {
            if !all.contains(name) {
                wrong.push(format!("{} names {name}, which no command has", place.display()));
            }
            seen += 1;
        }
        let mut parts = place.components().map(|part| part.as_os_str().to_string_lossy().into_owned());
        if !parts.next().is_some_and(|room| ["cli", "job"].contains(&room.as_str())) {
            continue;
        }
        let Some(file) = parts.next().map(|name| name.trim_end_matches(".rs").to_string()) else { continue };
        let shared = SHARED.iter().find(|(name, _)| *name == file).map(|(_, verbs)| verbs.to_vec());
        for verb in shared.unwrap_or(vec![file.as_str()]) {
            let Some(own) = by_verb.get(verb) else { continue };
            // The cold start's own process is another command.
            let missing: Vec<_> = names.iter().filter(|name| !own.contains(*name) && !probe(verb, name)).collect();
            if !missing.is_empty() {
                wrong.push(format!("`{verb}` says {missing:?} in {}, which it has not", place.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 80, "texts are read at all: {seen}");
}

fn probe(verb: &str, name: &str) -> bool {
    verb == "coldstart" && ["--begun", "--file"].contains(&name)
}

#[test]
fn a_folder_that_is_taken_suggests_only_what_can_be_done_with_it() {
    use super::{code, example, run, said};
    let place = tempfile::tempdir().unwrap();
    let folder = example(place.path());
    let path = folder.to_str().unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/strangers/cases/folders/llama-bench.json");
    let import = |into: &str| run(&["import", "auto", file.to_str().unwrap(), "-o", into]);
    let out = import(path);
    assert!(code(&out) == 1 && said(&out).contains(&format!("continue it with `sizewell profile --resume {path}`")));
    // What is suggested is taken: it fails, if at all, for another reason than its command line.
    let out = run(&["profile", "--resume", path]);
    assert!(code(&out) != 2, "{}", said(&out));
    let imported = place.path().join("imported");
    import(imported.to_str().unwrap());
    let out = import(imported.to_str().unwrap());
    assert!(code(&out) == 1 && !said(&out).contains("--resume"), "{}", said(&out));
    assert!(said(&out).contains("holds a run already: choose another folder with -o"), "{}", said(&out));
}
