//! The direction of imports: what stands before the run folder touches hardware, what stands after it is pure, and they
//! meet in `record`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// For each module, the modules that it may import.
fn allowed() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("units", &[] as &[_]),
        ("names", &[] as &[_]),
        ("statistics", &[] as &[_]),
        ("data_file", &[] as &[_]),
        ("workload", &["units", "names", "data_file"] as &[_]),
        ("record", &["units", "names", "workload"] as &[_]),
        ("device", &["units", "record"] as &[_]),
        ("engine", &["units", "names", "workload", "record", "device"] as &[_]),
        ("power", &["units", "record", "device"] as &[_]),
        ("measure", &["units", "statistics", "workload", "record", "device", "engine", "power", "measure"] as &[_]),
        ("catalog", &["units", "data_file", "workload", "record"] as &[_]),
        ("evidence", &["units", "statistics", "data_file", "workload", "record"] as &[_]),
        // It asks an engine; what judges (`compare`) is arithmetic on what was answered.
        ("quality", &["units", "statistics", "workload", "record", "engine"] as &[_]),
        ("sizing", &["units", "data_file", "workload", "record", "catalog", "evidence"] as &[_]),
        ("gate", &["units", "statistics", "data_file", "workload", "record"] as &[_]),
        ("report", &["units", "workload", "record", "catalog", "sizing", "gate"] as &[_]),
    ])
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files
}

/// Modules that a source file names as `crate::module`, its tests left out, and lines of prose too.
fn imports(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]\nmod tests").next().unwrap_or(source);
    let lines = code.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    let mut found = Vec::new();
    for line in lines {
        for part in line.split("crate::").skip(1) {
            // `$crate::` in a macro is the same import.
            found.push(part.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect());
        }
    }
    found
}

#[test]
fn imports_go_one_way() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let allowed = allowed();
    let mut seen = 0;
    for path in rust_files(&source) {
        let relative = path.strip_prefix(&source).unwrap();
        let first = relative.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
        let module = first.trim_end_matches(".rs");
        // The command line ties everything together.
        if ["main", "lib", "cli"].contains(&module) {
            continue;
        }
        let may = allowed.get(module).unwrap_or_else(|| panic!("{module} has no place in the pipeline yet"));
        for import in imports(&std::fs::read_to_string(&path).unwrap()) {
            assert!(import == module || may.contains(&import.as_str()), "{} imports {import}", relative.display());
            seen += 1;
        }
    }
    assert!(seen > 50, "the test reads imports at all");
}

#[test]
fn the_check_can_fail() {
    assert_eq!(
        imports("use crate::engine::Engine;\n// crate::power\n#[cfg(test)]\nmod tests { use crate::power; }"),
        ["engine"]
    );
}

#[test]
fn files_hold_one_idea_each() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["src", "tests"] {
        for path in rust_files(&root.join(folder)) {
            let lines = std::fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines <= 520, "{} has {lines} lines", path.display());
        }
    }
    let main = std::fs::read_to_string(root.join("src/main.rs")).unwrap();
    assert!(main.lines().count() < 60);
}
