//! The run folder: what a crash leaves behind, two runs in one folder, a full disk, files that are not a run.

use crate::support::record::record;
use sizewell::record::folder::FolderError;
use sizewell::record::{CaseKey, CaseRow, FailureKind, PowerRow, Run, RunFolder, SampleRow};
use sizewell::units::{Joules, Seconds};
use sizewell::workload::{Case, Quant};
use std::fs;
use std::path::Path;

fn row(batch: usize) -> CaseRow {
    let case = Case::new(Quant::F16, batch, 8, 4);
    let key = CaseKey { engine: "fake".into(), model: "m".into(), device: "cpu".into(), case, arrival: None };
    CaseRow::unmeasured(key, FailureKind::TimedOut, "with a\nline break, \"quotes\"; and more".into())
}

fn sample(row: &CaseRow) -> SampleRow {
    SampleRow {
        case_id: row.key.id(),
        iteration: 0,
        warmup: false,
        start: Seconds(0.0),
        token_times: vec![Seconds(0.5), Seconds(0.75)],
    }
}

fn append(folder: &mut RunFolder, row: &CaseRow) {
    let power =
        PowerRow { case_id: row.key.id(), zone: "package-0".into(), energy: Some(Joules(1.0)), ..PowerRow::default() };
    folder.append(row, &[sample(row)], &[power]).unwrap();
}

#[test]
fn a_run_killed_before_its_first_row_resumes() {
    let place = tempfile::tempdir().unwrap();
    // Killed between run.json and the rest.
    drop(RunFolder::create(place.path(), &record()).unwrap());
    for name in ["cases.csv", "samples.csv", "power.csv"] {
        std::fs::remove_file(place.path().join(name)).unwrap();
    }
    let (folder, _) = RunFolder::resume(place.path()).unwrap();
    assert!(folder.done.is_empty());
    drop(folder);
    // A header without a run is nobody's; rows without one are somebody's.
    std::fs::remove_file(place.path().join("run.json")).unwrap();
    drop(RunFolder::create(place.path(), &record()).unwrap());
    std::fs::remove_file(place.path().join("run.json")).unwrap();
    std::fs::write(place.path().join("cases.csv"), "a\n1\n").unwrap();
    let error = RunFolder::create(place.path(), &record()).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("belongs to no run"), "{error}");
}

/// A folder with two finished cases.
fn two_cases(path: &Path) {
    let mut folder = RunFolder::create(path, &record()).unwrap();
    append(&mut folder, &row(1));
    append(&mut folder, &row(2));
}

fn add(path: &Path, name: &str, bytes: &[u8]) {
    use std::io::Write;
    fs::OpenOptions::new().append(true).open(path.join(name)).unwrap().write_all(bytes).unwrap();
}

#[test]
fn what_is_written_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    two_cases(dir.path());
    let run = Run::read(dir.path()).unwrap();
    assert_eq!(run.record, record());
    assert_eq!(run.cases.len(), 2);
    assert_eq!(run.cases[0].message, "with a line break, \"quotes\"; and more");
    assert_eq!(run.samples().unwrap(), [sample(&row(1)), sample(&row(2))]);
}

#[test]
fn a_half_written_last_line_is_dropped_with_a_warning_and_nothing_else() {
    for cut in ["fake.m", "fake.m.cpu.f16.b4.p8.g4,fake,m,cpu,f16,4,8,4,ok,,,true", "\"open quote"] {
        let dir = tempfile::tempdir().unwrap();
        two_cases(dir.path());
        let before = fs::read(dir.path().join("cases.csv")).unwrap();
        add(dir.path(), "cases.csv", cut.as_bytes());
        assert_eq!(Run::read(dir.path()).unwrap().cases.len(), 2, "a reader leaves it out");
        let (folder, _) = RunFolder::resume(dir.path()).unwrap();
        assert_eq!(folder.done.len(), 2);
        assert!(folder.warnings.iter().any(|w| w.contains("half-written last line")), "{:?}", folder.warnings);
        assert_eq!(fs::read(dir.path().join("cases.csv")).unwrap(), before);
    }
}

#[test]
fn samples_of_a_case_without_a_row_are_dropped() {
    let dir = tempfile::tempdir().unwrap();
    two_cases(dir.path());
    let before = fs::read(dir.path().join("samples.csv")).unwrap();
    add(
        dir.path(),
        "samples.csv",
        b"fake.m.cpu.f16.b4.p8.g4,0,measure,0.0,0.5,0.7,0.5;0.7\nfake.m.cpu.f16.b4.p8.g4,1,mea",
    );
    let (folder, _) = RunFolder::resume(dir.path()).unwrap();
    assert_eq!(fs::read(dir.path().join("samples.csv")).unwrap(), before);
    assert_eq!(folder.warnings.len(), 2, "{:?}", folder.warnings);
}

#[test]
fn a_folder_that_died_before_its_tables_can_be_resumed() {
    let dir = tempfile::tempdir().unwrap();
    two_cases(dir.path());
    fs::remove_file(dir.path().join("power.csv")).unwrap();
    fs::write(dir.path().join("samples.csv"), "case_id,iter").unwrap();
    fs::write(dir.path().join("cases.csv"), "").unwrap();
    let (mut folder, _) = RunFolder::resume(dir.path()).unwrap();
    assert!(folder.done.is_empty());
    append(&mut folder, &row(1));
    drop(folder);
    assert_eq!(Run::read(dir.path()).unwrap().cases.len(), 1);
}

#[test]
fn a_folder_takes_one_run_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = RunFolder::create(dir.path(), &record()).unwrap();
    assert!(matches!(RunFolder::create(dir.path(), &record()), Err(FolderError::Locked(_))));
    assert!(matches!(RunFolder::resume(dir.path()), Err(FolderError::Locked(_))));
    drop(first);
    let Err(error) = RunFolder::create(dir.path(), &record()) else { panic!("the folder holds a run") };
    assert!(matches!(error, FolderError::Occupied(_)));
    assert!(error.to_string().contains("--resume"), "{error}");
    assert!(RunFolder::resume(dir.path()).is_ok());
}

#[test]
fn what_is_not_a_run_is_named() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(RunFolder::resume(dir.path()), Err(FolderError::NotARun(_))));
    assert!(Run::read(dir.path()).unwrap_err().to_string().contains("run.json"));
    two_cases(dir.path());
    let json = dir.path().join("run.json");
    let text = fs::read_to_string(&json).unwrap();
    let read = |text: &str| {
        fs::write(&json, text).unwrap();
        Run::read(dir.path()).unwrap_err()
    };
    assert!(read(&text.replace("\"schema_version\": 1", "\"schema_version\": 99")).message.contains("update sizewell"));
    assert!(read("{}").message.contains("not a run"));
    assert_eq!(read(&text.replace("\"seed\": 1", "\"seed\": -")).file, json);
    fs::write(&json, &text).unwrap();
    add(dir.path(), "cases.csv", b"a,b\n");
    let error = Run::read(dir.path()).unwrap_err();
    assert_eq!((error.line, error.message.contains("2 fields under")), (4, true), "{error}");
    fs::write(dir.path().join("cases.csv"), "other,columns\n1,2\n").unwrap();
    let Err(error) = RunFolder::resume(dir.path()) else { panic!("another version's columns") };
    assert!(error.to_string().contains("columns are not those"), "{error}");
}

#[test]
fn an_unwritable_place_is_an_error_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let Err(error) = RunFolder::create(&file.join("run"), &record()) else { panic!("a file is no folder") };
    assert!(error.to_string().contains("file/run"), "{error}");
}

/// A file system of 64 KiB, where the test may mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "none"])
            .arg(dir.path())
            .output()
            .is_ok_and(|out| out.status.success());
        mounted.then_some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).output();
    }
}

#[test]
fn a_full_disk_is_said_and_leaves_whole_lines() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: a small file system cannot be mounted here (needs root)");
        return;
    };
    let path = disk.0.path().join("run");
    let mut folder = RunFolder::create(&path, &record()).unwrap();
    let mut written = 0;
    let error = loop {
        let row = row(written + 1);
        let samples: Vec<SampleRow> = (0..20).map(|_| sample(&row)).collect();
        match folder.append(&row, &samples, &[]) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 1000, "64 KiB hold no thousand cases");
    };
    assert!(matches!(error, FolderError::DiskFull(..)), "{error}");
    assert!(error.to_string().contains("--resume"), "{error}");
    drop(folder);
    assert_eq!(Run::read(&path).unwrap().cases.len(), written);
    fs::remove_file(path.join("power.csv")).unwrap();
    assert!(fs::read_to_string(path.join("samples.csv")).unwrap().ends_with('\n'));
}
