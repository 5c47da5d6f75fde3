//! The folder that a catalog is written to: somebody's files in it, several writers at once, a full disk.

use super::{case, sizewell, stderr};
use sizewell::catalog::Catalog;
use std::path::Path;
use std::process::{Command, Stdio};

fn import_into(folder: &Path, provider: &str, work: &Path) -> Command {
    let map = std::fs::read_to_string(case("map-cpu.toml")).unwrap().replace("acme", provider);
    let file = work.join(format!("{provider}.toml"));
    std::fs::write(&file, map).unwrap();
    let mut command = sizewell();
    command.args(["catalog", "import"]).arg(case("cpu-decimal-comma.csv")).arg("--mapping").arg(file);
    command.arg("--catalog").arg(folder);
    command
}

#[test]
fn a_folder_that_is_somebodys_is_never_replaced() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("D");
    std::fs::create_dir_all(folder.join("chapters")).unwrap();
    std::fs::write(folder.join("thesis.txt"), "x").unwrap();
    let import = import_into(&folder, "acme", work.path()).output().unwrap();
    let update = sizewell().args(["catalog", "update", "--catalog"]).arg(&folder).output().unwrap();
    let mut command = sizewell();
    let by_variable = command.args(["catalog", "update"]).env("SIZEWELL_CATALOG", &folder).output().unwrap();
    for out in [import, update, by_variable] {
        let said = stderr(&out);
        assert_eq!(out.status.code(), Some(2), "{said}");
        assert!(said.contains("is not empty and not a catalog") && said.contains("name a new folder"), "{said}");
    }
    assert_eq!(std::fs::read_to_string(folder.join("thesis.txt")).unwrap(), "x");
    assert!(folder.join("chapters").is_dir());
    // In a catalog, what is not the catalog's stays; a link is not followed.
    let catalog = work.path().join("catalog");
    assert!(import_into(&catalog, "acme", work.path()).output().unwrap().status.success());
    std::fs::create_dir(catalog.join("own")).unwrap();
    for (name, text) in [("README.md", "mine"), ("own/box.toml", "name"), ("thesis.txt", "x")] {
        std::fs::write(catalog.join(name), text).unwrap();
    }
    std::os::unix::fs::symlink(&folder, catalog.join("link")).unwrap();
    let out = import_into(&catalog, "corp", work.path()).output().unwrap();
    assert!(out.status.success(), "{}", stderr(&out));
    for (name, text) in [("README.md", "mine"), ("own/box.toml", "name"), ("thesis.txt", "x"), ("link/thesis.txt", "x")]
    {
        assert_eq!(std::fs::read_to_string(catalog.join(name)).unwrap(), text, "{name}");
    }
    assert_eq!(std::fs::read_link(catalog.join("link")).unwrap(), folder);
}

/// A limit on the size of files stops the writing half way, as a full disk does.
#[test]
fn where_the_disk_is_full_the_old_catalog_is_whole() {
    let work = tempfile::tempdir().unwrap();
    let catalog = work.path().join("catalog");
    assert!(import_into(&catalog, "acme", work.path()).output().unwrap().status.success());
    std::fs::write(catalog.join("note"), "n").unwrap();
    let before = Catalog::from_folder(&catalog).unwrap().hash;
    let import = import_into(&catalog, "corp", work.path());
    let words: Vec<String> = std::iter::once(import.get_program())
        .chain(import.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let limited = format!("trap '' XFSZ; ulimit -f 40; exec {}", words.join(" "));
    let out = Command::new("sh").args(["-c", &limited]).output().unwrap();
    assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
    assert!(stderr(&out).contains("the old one is as it was"), "{}", stderr(&out));
    assert_eq!(Catalog::from_folder(&catalog).unwrap().hash, before);
    assert_eq!(std::fs::read_to_string(catalog.join("note")).unwrap(), "n");
    let left: Vec<_> = std::fs::read_dir(work.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left.len(), 3, "two mappings and the catalog: {left:?}");
}

#[test]
fn imports_at_once_are_all_kept() {
    let work = tempfile::tempdir().unwrap();
    let catalog = work.path().join("catalog");
    let names = ["a1", "a2", "a3", "a4", "a5", "a6"];
    let children: Vec<_> = names
        .iter()
        .map(|name| import_into(&catalog, name, work.path()).stderr(Stdio::piped()).spawn().unwrap())
        .collect();
    for child in children {
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{}", stderr(&out));
    }
    let catalog = Catalog::from_folder(&catalog).unwrap();
    for name in names {
        assert_eq!(catalog.offers.iter().filter(|offer| &*offer.shape.provider == name).count(), 3, "{name}");
    }
}
