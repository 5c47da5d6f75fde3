//! A model that was trained: it profiles at every level, and what it writes can be read.

use crate::support::shared;
use crate::support::tiny::{sizewell, write};
use sizewell::record::{Outcome, Run};

/// Words of children's stories, as any such text of a few dozen words uses many of.
const COMMON: [&str; 24] = [
    "a", "and", "big", "day", "girl", "boy", "he", "her", "in", "it", "little", "named", "play", "saw", "she", "the",
    "there", "they", "time", "to", "upon", "wanted", "was", "with",
];

#[test]
fn a_trained_model_tells_a_story_at_every_level() {
    let Some(model) = shared().map(|folder| folder.join("data/models/stories260k-f32.gguf")).filter(|f| f.is_file())
    else {
        eprintln!("skipped: no trained model beside the project (../shared/data/models/stories260k-f32.gguf)");
        return;
    };
    let work = tempfile::tempdir().unwrap();
    let (_, workload) = write(work.path());
    let folder = work.path().join("run");
    let out = sizewell()
        .args([
            "profile",
            "--no-ceilings",
            "--threads",
            "2",
            "--quant",
            "f16,int8,int4",
            "--batch",
            "1,4,16",
            "--model",
        ])
        .arg(model)
        .arg("--workload")
        .arg(workload)
        .arg("-o")
        .arg(&folder)
        .output()
        .unwrap();
    assert!(matches!(out.status.code(), Some(0 | 5)), "{}", String::from_utf8_lossy(&out.stderr));
    let run = Run::read(&folder).unwrap();
    assert_eq!(run.cases.len(), 9);
    for row in &run.cases {
        assert_eq!(row.outcome, Outcome::Ok, "{}: {}", row.key.id(), row.message);
    }
    assert_eq!(run.record.loads.len(), 3);
    for load in &run.record.loads {
        let text = load.sample_text.as_deref().unwrap();
        let words: Vec<String> =
            text.split_whitespace().map(|w| w.trim_matches(|c: char| !c.is_alphabetic()).to_lowercase()).collect();
        let common = words.iter().filter(|word| COMMON.contains(&word.as_str())).count();
        assert!(words.len() >= 20 && common * 3 >= words.len(), "{}: {text}", load.quant);
    }
}
