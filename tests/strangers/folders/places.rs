//! Where results go: through no link, over nothing that was measured, whole or not at all.

use super::{code, example, run, said};
use crate::support::tiny::{self, sizewell};
use sizewell::record::Run;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/strangers/cases/folders/llama-bench.json")
}

fn import(into: &Path) -> Command {
    let mut command = sizewell();
    command.args(["import", "auto"]).arg(source()).arg("-o").arg(into);
    command
}

#[test]
fn links_in_a_run_folder_are_not_followed() {
    let place = tempfile::tempdir().unwrap();
    let thesis = place.path().join("thesis.txt");
    fs::write(&thesis, "years of work\n").unwrap();
    for name in ["samples.csv", "cases.csv", "power.csv", "run.json", "run.lock", "requests.csv"] {
        let folder = place.path().join(format!("folder-{name}"));
        fs::create_dir(&folder).unwrap();
        symlink(&thesis, folder.join(name)).unwrap();
        for command in [&mut tiny::profile(place.path(), &folder), &mut import(&folder)] {
            let out = command.output().unwrap();
            assert_eq!(code(&out), 1, "{name}: {}", said(&out));
            assert!(said(&out).contains(&format!("{name}: is a symbolic link to")), "{name}: {}", said(&out));
        }
        assert_eq!(fs::read_to_string(&thesis).unwrap(), "years of work\n", "{name}");
    }
    // Where a name is only for a moment, the link goes and what it leads to stays.
    let folder = place.path().join("new");
    fs::create_dir(&folder).unwrap();
    symlink(&thesis, folder.join("run.json.new")).unwrap();
    symlink(&thesis, folder.join("samples.csv.new")).unwrap();
    let out = import(&folder).output().unwrap();
    assert_eq!(code(&out), 0, "{}", said(&out));
    assert_eq!(fs::read_to_string(&thesis).unwrap(), "years of work\n");
    // A run that is continued, too.
    let folder = place.path().join("run");
    tiny::profile(place.path(), &folder).output().unwrap();
    fs::remove_file(folder.join("samples.csv")).unwrap();
    symlink(&thesis, folder.join("samples.csv")).unwrap();
    let out = sizewell().args(["profile", "--threads", "2", "--resume"]).arg(&folder).output().unwrap();
    assert!(code(&out) == 1 && said(&out).contains("is a symbolic link to"), "{}", said(&out));
    assert_eq!(fs::read_to_string(&thesis).unwrap(), "years of work\n");
    // Rows of nobody's run are not overwritten either.
    let folder = place.path().join("rows");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("samples.csv"), "mine,too\n1,2\n").unwrap();
    let out = tiny::profile(place.path(), &folder).output().unwrap();
    assert!(code(&out) == 1 && said(&out).contains("holds a samples.csv that belongs to no run"), "{}", said(&out));
}

#[test]
fn no_output_takes_the_place_of_a_record() {
    let place = tempfile::tempdir().unwrap();
    let folder = example(place.path());
    let (path, other) = (folder.to_str().unwrap(), place.path().join("other"));
    fs::create_dir(&other).unwrap();
    for entry in fs::read_dir(&folder).unwrap().flatten() {
        fs::copy(entry.path(), other.join(entry.file_name())).unwrap();
    }
    let policy = place.path().join("p.toml");
    fs::write(&policy, "").unwrap();
    let at = |folder: &Path, name: &str| folder.join(name).to_str().unwrap().to_string();
    let link = place.path().join("link.xml");
    symlink(folder.join("run.json"), &link).unwrap();
    let before = fs::read(folder.join("run.json")).unwrap();
    for (args, why) in [
        (vec!["gate", path, "--baseline", path, "--junit", &at(&folder, "run.json")], "is a part of a run"),
        (vec!["gate", path, "--baseline", path, "--junit", &at(&folder, "drift.jsonl")], "is a part of a run"),
        (vec!["gate", path, "--baseline", path, "--markdown", &at(&other, "cases.csv")], "is a part of a run"),
        (vec!["gate", path, "--baseline", path, "--junit", link.to_str().unwrap()], "is a part of a run"),
        (
            vec!["gate", path, "--policy", policy.to_str().unwrap(), "--markdown", policy.to_str().unwrap()],
            "is read too",
        ),
        (vec!["gate", path, "--baseline", path, "--junit", "same.xml", "--markdown", "same.xml"], "is named twice"),
        (vec!["report", path, "-o", &at(&other, "cases.csv")], "is a part of a run"),
        (vec!["models", "synth", "-m", "smollm2-135m", "-o", &at(&folder, "weights.gguf")], "is a part of a run"),
    ]
    .map(|(args, why)| (args.into_iter().map(str::to_string).collect::<Vec<_>>(), why))
    {
        let out = sizewell().args(&args).output().unwrap();
        assert_eq!(code(&out), 2, "{args:?}: {}", said(&out));
        assert!(said(&out).contains(why), "{args:?}: {}", said(&out));
    }
    assert_eq!(fs::read(folder.join("run.json")).unwrap(), before);
    // A link to anything else is not followed.
    let thesis = place.path().join("thesis.md");
    fs::write(&thesis, "mine").unwrap();
    symlink(&thesis, place.path().join("r.md")).unwrap();
    let out = run(&["report", path, "-o", place.path().join("r.md").to_str().unwrap()]);
    assert!(code(&out) == 1 && said(&out).contains("is a symbolic link to"), "{}", said(&out));
    assert_eq!(fs::read_to_string(&thesis).unwrap(), "mine");
    let out = run(&["gate", path, "--baseline", path, "--junit", "/dev/null"]);
    assert!(code(&out) != 1 && code(&out) != 2, "a device is written to: {}", said(&out));
}

#[test]
fn an_import_is_there_whole_or_not_at_all() {
    let place = tempfile::tempdir().unwrap();
    let whole = |folder: &Path| Run::read(folder).is_ok_and(|run| !run.cases.is_empty());
    // Killed at any moment, and once more.
    let mut done = 0;
    for round in 0..12u64 {
        let folder = place.path().join(format!("run{round}"));
        let mut child = import(&folder).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(round * 4));
        let _ = child.kill();
        child.wait().unwrap();
        assert!(!folder.exists() || whole(&folder), "round {round}");
        if !folder.exists() {
            let out = import(&folder).output().unwrap();
            assert_eq!(code(&out), 0, "round {round}: {}", said(&out));
            done += 1;
        }
        assert!(whole(&folder));
    }
    // What a kill left is taken over.
    let folder = place.path().join("left");
    fs::create_dir(place.path().join(".left.new")).unwrap();
    fs::write(place.path().join(".left.new/run.json"), "{\"schema_ver").unwrap();
    fs::write(place.path().join(".left.new/cases.csv"), "half a li").unwrap();
    assert_eq!(code(&import(&folder).output().unwrap()), 0);
    assert!(whole(&folder) && done <= 12);
    let hidden = |folder: &Path| {
        let names =
            fs::read_dir(folder).unwrap().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.ends_with(".new")).collect::<Vec<_>>()
    };
    assert_eq!(hidden(place.path()), Vec::<String>::new());
    assert_eq!(hidden(&folder), Vec::<String>::new());
}

#[test]
fn of_imports_into_one_folder_at_once_one_wins() {
    let place = tempfile::tempdir().unwrap();
    for (round, is_there) in [(0, false), (1, true), (2, false)] {
        let folder = place.path().join(format!("run{round}"));
        if is_there {
            fs::create_dir(&folder).unwrap();
        }
        let children: Vec<_> =
            (0..4).map(|_| import(&folder).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()).collect();
        let ends: Vec<_> = children.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
        let codes: Vec<i32> = ends.iter().map(code).collect();
        assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
        for end in ends.iter().filter(|end| code(end) != 0) {
            let words = said(end);
            assert!(words.contains("holds a run already") || words.contains("in use by another run"), "{words}");
        }
        assert!(!Run::read(&folder).unwrap().cases.is_empty());
    }
}

#[test]
fn names_that_our_fonts_lack_are_no_question_marks_on_paper() {
    let place = tempfile::tempdir().unwrap();
    let folder = example(place.path());
    super::edit(&folder.join("run.json"), |text| text.replacen("\"hostname\": \"vm\"", "\"hostname\": \"机器\"", 1));
    super::edit(&folder.join("cases.csv"), |text| text.replace(",smollm2-135m,", ",通义千问-7b,"));
    for name in ["r.pdf", "plots/"] {
        let to = format!("{}/{name}", place.path().display());
        let out = run(&["report", folder.to_str().unwrap(), "-o", &to]);
        assert_eq!(code(&out), 0, "{}", said(&out));
    }
    assert!(fs::read(place.path().join("r.pdf")).unwrap().starts_with(b"%PDF"));
}
