//! The direction of imports: what stands before the run folder touches hardware, what stands after it is pure, and they
//! meet in `record`.

// A program exports nothing.
#![allow(unreachable_pub)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// For each module, the modules that it may import.
fn allowed() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("units", &[] as &[_]),
        ("names", &[] as &[_]),
        ("statistics", &["units"] as &[_]),
        ("data_file", &[] as &[_]),
        ("workload", &["units", "names", "data_file"] as &[_]),
        ("record", &["units", "names", "workload"] as &[_]),
        ("device", &["units", "record"] as &[_]),
        ("engine", &["units", "names", "workload", "record", "device"] as &[_]),
        ("power", &["units", "record", "device"] as &[_]),
        ("measure", &["units", "statistics", "workload", "record", "device", "engine", "power", "measure"] as &[_]),
        ("catalog", &["units", "data_file", "workload", "record"] as &[_]),
        ("evidence", &["units", "statistics", "data_file", "workload", "record"] as &[_]),
        // What asks an engine, and what judges the answers, apart: arithmetic on a record can be done anywhere.
        ("evaluation", &["workload", "record", "engine"] as &[_]),
        ("quality", &["statistics", "workload", "record"] as &[_]),
        ("sizing", &["units", "data_file", "workload", "record", "catalog", "evidence"] as &[_]),
        // Its rooms, each of which may use those before it.
        ("sizing::formulas", &[] as &[_]),
        ("sizing::speed", &["sizing::formulas"] as &[_]),
        ("sizing::price", &["sizing::formulas", "sizing::speed"] as &[_]),
        ("sizing::rank", &["sizing::formulas", "sizing::speed", "sizing::price"] as &[_]),
        ("gate", &["units", "statistics", "data_file", "workload", "record"] as &[_]),
        ("report", &["units", "workload", "record", "catalog", "sizing", "gate"] as &[_]),
        // What the application does: it may use everything but the command line, and nothing but that uses it.
        (
            "job",
            &[
                "units",
                "statistics",
                "data_file",
                "workload",
                "record",
                "device",
                "engine",
                "power",
                "measure",
                "catalog",
                "evidence",
                "evaluation",
                "quality",
                "sizing",
                "gate",
                "report",
            ] as &[_],
        ),
    ])
}

/// Where sources stand: those of the crates that others build on first, then the program's.
fn sources() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates = ["record", "engine", "sizing"].map(|name| root.join("crates").join(name).join("src"));
    let there = std::fs::read_dir(root.join("crates")).unwrap().count();
    assert_eq!(there, crates.len(), "a crate has no place in the pipeline yet");
    crates.into_iter().chain([root.join("src")]).collect()
}

/// All files of sources, each with what it is called from the folder that its modules begin in.
fn all_files() -> Vec<(PathBuf, PathBuf)> {
    let of = |source: PathBuf| {
        let named = |file: PathBuf| (file.strip_prefix(&source).unwrap().to_path_buf(), file.clone());
        rust_files(&source).into_iter().map(named).collect::<Vec<_>>()
    };
    sources().into_iter().flat_map(of).collect()
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
    let allowed = allowed();
    let mut seen = 0;
    for (relative, path) in all_files() {
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
fn rooms_of_a_module_go_one_way() {
    let allowed = allowed();
    let rooms = allowed.iter().filter_map(|(name, may)| Some((name.split_once("::")?, may)));
    let mut seen = 0;
    for ((module, room), may) in rooms {
        let (folder, file) = (Path::new(module).join(room), Path::new(module).join(room).with_extension("rs"));
        let files = all_files().into_iter().filter(|(name, _)| name.starts_with(&folder) || *name == file);
        for (_, path) in files {
            let text = std::fs::read_to_string(&path).unwrap();
            // The rooms that it names: what follows the module's own name.
            let within = text
                .replace(&format!("crate::{module}::"), "room::")
                .replace("crate::", "")
                .replace("room::", "crate::");
            for other in imports(&within) {
                let name = format!("{module}::{other}");
                assert!(other == room || may.contains(&name.as_str()), "{} imports {name}", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "the test reads imports at all");
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
    for folder in ["src", "crates", "tests"] {
        for path in rust_files(&root.join(folder)) {
            let lines = std::fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines <= 500, "{} has {lines} lines", path.display());
        }
    }
    let main = std::fs::read_to_string(root.join("src/main.rs")).unwrap();
    assert!(main.lines().count() < 60);
}

/// The first sentence of a module's documentation, without its number in the pipeline and without links.
fn first_sentence(text: &str) -> String {
    let lines =
        text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).take_while(|line| !line.is_empty());
    let prose = lines.collect::<Vec<_>>().join(" ").replace("[`", "`").replace("`]", "`");
    let numbered = prose.strip_prefix('(').and_then(|rest| rest.split_once(") "));
    let prose = numbered.filter(|(number, _)| number.parse::<u32>().is_ok()).map_or(prose.as_str(), |(_, rest)| rest);
    let end = prose.find(". ").map_or(prose.len(), |at| at + 1);
    prose[..end].to_string()
}

/// What a module says of itself.
fn about(file: &Path) -> String {
    let sentence = first_sentence(&std::fs::read_to_string(file).unwrap());
    assert!(!sentence.is_empty(), "{} says nothing of itself", file.display());
    sentence
}

/// Where a module is written: `a/mod.rs` or `a.rs`.
fn module_file(module: &str) -> PathBuf {
    let path = module.replace("::", "/");
    let names = [format!("{path}/mod.rs"), format!("{path}.rs")];
    let mut files = sources().into_iter().flat_map(|source| names.each_ref().map(|name| source.join(name)));
    files.find(|file| file.is_file()).unwrap_or_else(|| panic!("there is no module {module}"))
}

/// The modules that have a place in the table, in the order of the crates, and of their `lib.rs`.
fn in_order() -> Vec<&'static str> {
    let libs = sources().into_iter().map(|source| std::fs::read_to_string(source.join("lib.rs")).unwrap());
    let libs = libs.collect::<Vec<_>>().join("\n");
    let declared: Vec<&str> =
        libs.lines().filter_map(|line| line.strip_prefix("pub mod ")).map(|name| name.trim_end_matches(';')).collect();
    let place = |module: &str| declared.iter().position(|name| Some(*name) == module.split("::").next());
    let mut modules: Vec<&str> = allowed().into_keys().collect();
    modules.sort_by_key(|module| (place(module), module.matches("::").count()));
    modules
}

/// A path as the document links to it.
fn link(path: &Path) -> String {
    path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string()
}

/// What a module may import beside itself.
fn others(module: &str) -> Vec<&'static str> {
    allowed()[module].iter().copied().filter(|name| *name != module).collect()
}

fn table_of_modules() -> String {
    let mut table = "| module | what it is | may import |\n|---|---|---|\n".to_string();
    for module in in_order() {
        let file = module_file(module);
        let may: Vec<String> = others(module).iter().map(|name| format!("`{name}`")).collect();
        let may = if may.is_empty() { "nothing".to_string() } else { may.join(", ") };
        table.push_str(&format!("| [`{module}`]({}) | {} | {may} |\n", link(&file), about(&file)));
    }
    table
}

/// Arrows from each module to those that it may import, but for those that others lead to.
fn graph_of_modules() -> String {
    fn reaches(from: &str, to: &str) -> bool {
        others(from).into_iter().any(|next| next == to || reaches(next, to))
    }
    let mut graph = "```mermaid\nflowchart RL\n".to_string();
    for module in in_order() {
        let may = others(module);
        for to in &may {
            if !may.iter().any(|by| by != to && reaches(by, to)) {
                graph.push_str(&format!("    {} --> {}\n", module.replace("::", "_"), to.replace("::", "_")));
            }
        }
    }
    graph + "```\n"
}

fn table_of_folders() -> String {
    let mut table = "| folder | what it is |\n|---|---|\n".to_string();
    for source in sources() {
        let within = |folder: &Path| folder.strip_prefix(&source).unwrap().to_path_buf();
        let files = rust_files(&source);
        let folders = files.iter().filter_map(|file| file.parent());
        let folders: BTreeSet<&Path> = folders.filter(|folder| within(folder).components().count() > 1).collect();
        for folder in folders {
            let (module, link) = (within(folder).display().to_string(), link(folder));
            table.push_str(&format!("| [{link}]({link}) | {} |\n", about(&module_file(&module))));
        }
    }
    table
}

/// A document with the part of a name between its marks put anew.
fn with_part(document: &str, name: &str, part: &str) -> String {
    let (begin, end) = (format!("<!-- {name}: made by tests/layout.rs -->\n"), format!("<!-- end of {name} -->"));
    let (before, rest) = document.split_once(&begin).unwrap_or_else(|| panic!("ARCHITECTURE.md has no part {name}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("the part {name} has no end"));
    format!("{before}{begin}{part}{end}{after}")
}

/// `SIZEWELL_UPDATE_DOCS=1 cargo test architecture_md` writes the parts anew.
#[test]
fn architecture_md_draws_this_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = root.join("ARCHITECTURE.md");
    let shipped = std::fs::read_to_string(&file).unwrap();
    let parts = [("modules", table_of_modules()), ("graph", graph_of_modules()), ("folders", table_of_folders())];
    let made = parts.iter().fold(shipped.clone(), |text, (name, part)| with_part(&text, name, part));
    if std::env::var_os("SIZEWELL_UPDATE_DOCS").is_some() {
        std::fs::write(&file, &made).unwrap();
        return;
    }
    assert!(shipped == made, "run it again with SIZEWELL_UPDATE_DOCS=1, and look at the difference in ARCHITECTURE.md");
}

#[test]
fn a_part_of_a_document_is_put_between_its_marks() {
    let document = "a\n<!-- x: made by tests/layout.rs -->\nold\n<!-- end of x -->\nb\n";
    assert_eq!(with_part(document, "x", "new\n"), document.replace("old", "new"));
    let module = "//! (3) What runs [`x`]: all\n//! of it. And more.\n\npub mod a;\n";
    assert_eq!(first_sentence(module), "What runs `x`: all of it.");
}
