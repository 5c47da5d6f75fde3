//! Documents point to what is there: every relative link and anchor in them, and every `docs/...` that the source, the
//! scripts and the tests name, exists.

// A program exports nothing.
#![allow(unreachable_pub)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

/// Files below a folder, or the file itself.
fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_path_buf()];
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).unwrap().flatten() {
        found.extend(files(&entry.path()));
    }
    found.sort();
    found
}

/// Lines of a document that are not code, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        (!fence && !in_code).then_some((index + 1, line))
    })
}

/// A heading without its markup: links are their text, marks are gone.
fn plain(heading: &str) -> String {
    let mut text = String::new();
    let mut rest = heading;
    while let Some((before, link)) = rest.split_once('[') {
        let Some((label, after)) =
            link.split_once("](").and_then(|(label, after)| after.split_once(')').map(|(_, after)| (label, after)))
        else {
            break;
        };
        text.push_str(before);
        text.push_str(label);
        rest = after;
    }
    text.push_str(rest);
    text.chars().filter(|c| !['`', '*'].contains(c)).collect()
}

/// The anchors of a document by GitHub's rule: headings in lower case, spaces as hyphens, everything but letters, digits,
/// hyphens and underscores left out, the second of a name with `-1` behind it; and every `<a id="...">`.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut all = BTreeSet::new();
    for (_, line) in prose(text) {
        let marks = line.chars().take_while(|&c| c == '#').count();
        if (1..=6).contains(&marks) && line[marks..].starts_with(' ') {
            let slug: String = plain(line[marks..].trim())
                .to_lowercase()
                .chars()
                .filter(|&c| c.is_alphanumeric() || [' ', '-', '_'].contains(&c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect();
            let times = seen.entry(slug.clone()).or_default();
            all.insert(if *times == 0 { slug } else { format!("{slug}-{times}") });
            *times += 1;
        }
        all.extend(
            line.split("<a id=\"").skip(1).filter_map(|rest| rest.split_once('"')).map(|(id, _)| id.to_string()),
        );
    }
    all
}

/// The targets of a document's links and pictures, with their lines; code in backticks has none.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let outside: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for rest in outside.split("](").skip(1) {
            let target = rest.split([')', ' ']).next().unwrap_or_default();
            found.push((number, target.to_string()));
        }
    }
    found
}

/// A path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    parts
}

/// What is wrong with a target, seen from a folder; `None` where it exists.
fn broken(folder: &Path, document: &Path, target: &str) -> Option<String> {
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let file = if path.is_empty() { document.to_path_buf() } else { normal(&folder.join(path)) };
    if !file.exists() {
        return Some(format!("{target}: no such file"));
    }
    let is_markdown = file.extension().is_some_and(|ending| ending == "md");
    if anchor.is_empty() || !is_markdown {
        return None;
    }
    let there = anchors(&std::fs::read_to_string(&file).unwrap());
    (!there.contains(anchor))
        .then(|| format!("{target}: no such anchor; there are {}", Vec::from_iter(there).join(", ")))
}

/// What the names of the project's documents begin with; `docs/` alone may be another project's.
const OURS: [&str; 4] = ["docs/method", "docs/results", "docs/open", "docs/adding"];

/// The places in a text that name a document of `docs/`, with an anchor where there is one.
fn named(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for (at, _) in line.match_indices("docs/") {
            let before = line[..at].chars().next_back();
            let is_ours = OURS.iter().any(|name| line[at..].starts_with(name));
            if !is_ours || before.is_some_and(|c| c.is_alphanumeric() || "/._-".contains(c)) {
                continue;
            }
            let target: String =
                line[at..].chars().take_while(|&c| c.is_ascii_alphanumeric() || "/._-#".contains(c)).collect();
            found.push((index + 1, target.trim_end_matches(['.', '-', '/']).to_string()));
        }
    }
    found
}

#[test]
fn links_of_documents_lead_somewhere() {
    let root = root();
    let documents =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "instance-catalog/README.md", "docs"];
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for document in documents.iter().flat_map(|name| files(&root.join(name))) {
        let text = std::fs::read_to_string(&document).unwrap();
        for (line, target) in links(&text) {
            if ["http://", "https://", "mailto:"].iter().any(|scheme| target.starts_with(scheme)) {
                continue;
            }
            seen += 1;
            let name = document.strip_prefix(&root).unwrap().display();
            wrong.extend(
                broken(document.parent().unwrap(), &document, &target).map(|why| format!("{name}:{line}: {why}")),
            );
        }
    }
    assert!(wrong.is_empty(), "links that lead nowhere:\n{}", wrong.join("\n"));
    assert!(seen > 60, "the test reads links at all: {seen}");
}

#[test]
fn documents_that_the_source_names_are_there() {
    let root = root();
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for folder in
        ["src", "crates", "scripts", "workloads", "benches", "examples", "models", "kernels", "action.yml", "tests"]
    {
        for file in files(&root.join(folder)) {
            // This file has wrong ones on purpose; binary files name nothing.
            let Ok(text) = std::fs::read_to_string(&file) else { continue };
            if file.ends_with("tests/docs.rs") {
                continue;
            }
            for (line, target) in named(&text) {
                seen += 1;
                let name = file.strip_prefix(&root).unwrap().display();
                wrong.extend(broken(&root, &file, &target).map(|why| format!("{name}:{line}: {why}")));
            }
        }
    }
    assert!(wrong.is_empty(), "documents that are not there:\n{}", wrong.join("\n"));
    assert!(seen > 10, "the test reads names at all: {seen}");
}

/// The files and folders of this repository that a text names.
fn files_named(text: &str) -> Vec<(usize, String)> {
    let folders =
        ["src/", "crates/", "tests/", "scripts/", "benches/", "kernels/", "examples/", "models/", "workloads/", ".ci/"];
    let is_path = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for word in line.split(|c: char| !is_path(c)).filter(|word| folders.iter().any(|name| word.starts_with(name))) {
            found.push((index + 1, word.trim_end_matches(['.', '-']).to_string()));
        }
    }
    found
}

/// Documents of what is so now; results name what was there on their day.
#[test]
fn files_that_documents_name_are_there() {
    let root = root();
    let documents = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs"];
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for document in documents.iter().flat_map(|name| files(&root.join(name))) {
        if document.starts_with(root.join("docs/results")) {
            continue;
        }
        for (line, path) in files_named(&std::fs::read_to_string(&document).unwrap()) {
            seen += 1;
            if !root.join(&path).exists() {
                wrong.push(format!("{}:{line}: {path}", document.strip_prefix(&root).unwrap().display()));
            }
        }
    }
    assert!(wrong.is_empty(), "files that are not there:\n{}", wrong.join("\n"));
    assert!(seen > 60, "the test reads paths at all: {seen}");
}

#[test]
fn every_page_is_in_an_index() {
    let root = root();
    for (folder, index) in [("docs/method", "README.md"), ("docs/results", "README.md")] {
        let text = std::fs::read_to_string(root.join(folder).join(index)).unwrap();
        let linked: BTreeSet<String> = links(&text).into_iter().map(|(_, target)| target).collect();
        for page in files(&root.join(folder)) {
            let name = page.file_name().unwrap().to_string_lossy().into_owned();
            assert!(name == index || linked.contains(&name), "{folder}/{index} does not list {name}");
        }
    }
}

#[test]
fn the_check_can_fail() {
    let text = "# One `two`, three\n## A\n## A\n```\n# no heading\n[no](link)\n```\n| <a id=\"x-Y\"></a>b |\n## [Costs](c.md): *all*\n";
    let all = anchors(text);
    assert_eq!(all, ["a", "a-1", "costs-all", "one-two-three", "x-Y"].map(String::from).into());
    assert_eq!(links("see [a](b.md#c), `[x](y)` and ![p](q.svg)"), [(1, "b.md#c".into()), (1, "q.svg".into())]);
    assert_eq!(links("```\n[a](b)\n```\n"), []);
    assert_eq!(
        named("// docs/method/a.md#b. and https://host/docs/method, ggml's docs/gguf.md, (docs/open.md)"),
        [(1, "docs/method/a.md#b".into()), (1, "docs/open.md".into())]
    );
    assert_eq!(files_named("`src/a.rs` in [b](../src/c), tests/d."), [(1, "src/a.rs".into()), (1, "tests/d".into())]);
    let (root, readme) = (root(), root().join("README.md"));
    assert!(broken(&root, &readme, "no-such-file.md").is_some());
    assert!(broken(&root, &readme, "README.md#no-such-heading").is_some());
    assert!(broken(&root, &readme, "#no-such-heading").is_some());
    assert_eq!(broken(&root, &readme, "#commands"), None);
    assert_eq!(broken(&root.join("docs"), &readme, "../README.md"), None);
}
