//! Data sets as they come: from other systems, with marks and other ends of lines, with columns of tables, with questions
//! that are asked more than once.

use crate::support::tiny;
use sizewell::engine::EngineError;
use sizewell::engine::language::{LanguageModel, SequencePosition, TakeLogits};
use sizewell::engine::weights as source;
use sizewell::evaluation::data::DataSet;
use sizewell::evaluation::inputs::TokenFrequencies;
use sizewell::evaluation::tasks;
use sizewell::evaluation::text::{self, ReferenceLogits};
use sizewell::evaluation::windows::Windowing;
use sizewell::record::Evaluation;
use sizewell::record::Run;
use sizewell::statistics::paired::ratio;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

pub fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/strangers/cases/quality").join(name)
}

pub fn read(name: &str) -> String {
    fs::read_to_string(case(name)).unwrap()
}

fn set(name: &str, bytes: impl Into<Vec<u8>>) -> DataSet {
    DataSet::embedded(name, bytes.into().leak()).unwrap()
}

/// A model that is quick: how probable a token is depends on it and on the one before.
pub struct Quick(usize);

impl Quick {
    pub fn logit(before: u32, token: usize) -> f32 {
        let mixed =
            (u64::from(before) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (token as u64).wrapping_mul(0xBF58_476D);
        (mixed.wrapping_mul(0x94D0_49BB_1331_11EB) >> 40) as f32 / (1 << 22) as f32
    }
}

impl LanguageModel for Quick {
    fn vocab_size(&self) -> usize {
        self.0
    }

    fn max_context(&self) -> usize {
        256
    }

    fn logits(
        &mut self,
        sequences: &[Vec<u32>],
        places: &[SequencePosition],
        take: TakeLogits<'_>,
    ) -> Result<(), EngineError> {
        let row = |place: &SequencePosition| {
            let before = sequences[place.sequence][place.position];
            (0..self.0).map(move |token| Self::logit(before, token))
        };
        take(0, &places.iter().flat_map(row).collect::<Vec<f32>>());
        Ok(())
    }

    fn embed(&mut self, sequences: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, EngineError> {
        let of = |ids: &Vec<u32>| {
            vec![ids.len() as f32, ids.iter().sum::<u32>() as f32, ids.iter().max().map_or(0, |m| *m) as f32]
        };
        Ok(sequences.iter().map(of).collect())
    }

    fn generate(&mut self, prompts: &[Vec<u32>], tokens: usize) -> Result<Vec<Vec<u32>>, EngineError> {
        Ok(prompts.iter().map(|prompt| vec![prompt[prompt.len() - 1]; tokens]).collect())
    }
}

fn evaluated(set: &DataSet, context: usize) -> Evaluation {
    let model = source::open("reference", 1, false).unwrap();
    let (tokenizer, vocab) = (model.tokenizer.unwrap(), model.shape.vocab_size);
    let inputs = TokenFrequencies::of(vec![1; vocab]);
    let mut model = Quick(vocab);
    match set.kind {
        sizewell::record::evaluation::DataSetKind::Text => {
            let plan = Windowing { context, stride: None, bos: Some(0) };
            text::evaluate(&mut model, &tokenizer, set, plan, &inputs, ReferenceLogits::Unused, &mut |_| true).unwrap()
        }
        _ => tasks::evaluate(&mut model, &tokenizer, set, &inputs, &mut |_| true).unwrap(),
    }
}

/// The same text as other systems write it.
fn elsewhere(text: &str) -> [String; 4] {
    [
        format!("\u{feff}{text}"),
        text.replace('\n', "\r\n"),
        format!("\u{feff}{}", text.replace('\n', "\r\n")),
        format!("\u{feff}\u{feff}{text}"),
    ]
}

#[test]
fn a_mark_and_other_ends_of_lines_change_no_figure_of_any_kind() {
    let text = read("nobom.txt");
    let plain = evaluated(&set("t.txt", text.clone()), 64);
    for other in elsewhere(&text).into_iter().chain([text.replace('\n', "\r")]) {
        let found = evaluated(&set("t.txt", other), 64);
        assert_eq!(found, plain);
    }
    assert!(plain.samples > 2000 && plain.repeats == 0, "{} {}", plain.samples, plain.repeats);
    for lines in [
        read("ok.jsonl"),
        "{\"prompt\":\"On Monday\\nthe baker\",\"answer\":\"sold\"}\n{\"prompt\":\"On Friday\",\"answer\":\"left\"}\n"
            .into(),
        "{\"a\":\"On Monday\",\"b\":\"On Friday\",\"score\":3}\n\n{\"a\":\"tin\",\"b\":\"On Friday\\n\",\"score\":1}\n"
            .into(),
        "{\"text\":\"On Monday\\nit\",\"labels\":[\" is\",\" was\"],\"label\":1}\n".into(),
    ] {
        let plain = evaluated(&set("q.jsonl", lines.clone()), 64);
        // In a string it is written as an escape.
        for other in elsewhere(&lines).into_iter().chain([lines.replace("\\n", "\\r\\n")]) {
            assert_eq!(evaluated(&set("q.jsonl", other), 64), plain);
        }
    }
}

#[test]
fn a_text_put_behind_itself_has_no_further_items() {
    let text = read("nobom.txt");
    let once = evaluated(&set("t.txt", text.clone()), 64);
    let twice = evaluated(&set("t.txt", format!("{text}And so on.\n{text}")), 64);
    let items = once.items.len();
    assert!(twice.samples > 2 * once.samples - 64 && twice.repeats > items - 5, "{} {}", twice.samples, twice.repeats);
    assert!((items..items + 5).contains(&twice.items.len()), "{} of {items}", twice.items.len());
    let perplexity = |found: &Evaluation| ratio(&found.series[0].parts);
    assert!((perplexity(&twice) / perplexity(&once) - 1.0).abs() < 0.01, "the figure is of the whole text");
    let sentence =
        evaluated(&set("t.txt", "On Monday the quiet smith of Corsby sold 2 small spades. ".repeat(200)), 64);
    assert!(sentence.items.len() <= 3 && sentence.repeats > 30, "{} {}", sentence.items.len(), sentence.repeats);
}

pub fn sizewell(folder: &Path, arguments: &[&str]) -> Output {
    tiny::sizewell().current_dir(folder).args(arguments).output().unwrap()
}

pub fn said(done: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))
}

pub fn quality(folder: &Path, arguments: &[&str]) -> Output {
    sizewell(folder, &[&["quality", "--model", "reference", "--no-speed"], arguments].concat())
}

pub fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    fs::write(folder.join(name), bytes).unwrap();
}

#[test]
fn the_perplexity_of_the_reference_model_is_that_of_the_words() {
    let folder = tempfile::tempdir().unwrap();
    let text = &read("nobom.txt")[..1500];
    let mut figures = Vec::new();
    for (name, bytes) in [("n.txt", text.to_string()), ("b.txt", elsewhere(text)[2].clone())] {
        write(folder.path(), name, bytes);
        let done = quality(
            folder.path(),
            &["--data", name, "--quant", "f16", "--context", "32", "-o", &format!("{name}.run")],
        );
        assert!(done.status.success(), "{}", said(&done));
        let run = Run::read(&folder.path().join(format!("{name}.run"))).unwrap();
        figures.push(run.quality().unwrap()[0].value);
    }
    // With the mark it was 0.6 % lower; with the other ends of lines 2.7 times as high.
    assert!((1.5..3.0).contains(&figures[0]) && figures[0] == figures[1], "{figures:?}");
}

#[test]
fn questions_that_are_asked_again_are_one_item() {
    let folder = tempfile::tempdir().unwrap();
    let question = |number: usize, answer: usize| {
        let context = format!("A crate of tin pipes number {number} is");
        serde_json::json!({"context": context, "choices": [" red", " blue", " green"], "answer": answer}).to_string()
            + "\n"
    };
    write(folder.path(), "duplicates.jsonl", (0..80).map(|i| question(i % 2, i % 2)).collect::<String>());
    write(folder.path(), "dup-contradict.jsonl", (0..40).map(|i| question(0, i / 20)).collect::<String>());
    for (name, items, notes) in [
        ("duplicates", 2.0, &["80 lines ask 2 different questions"][..]),
        (
            "dup-contradict",
            1.0,
            &["40 lines ask 1 different question", "lines 1 and 21 ask the same and give different answers"],
        ),
    ] {
        let data = format!("{name}.jsonl");
        let done = quality(folder.path(), &["--data", &data, "--quant", "f16,int8", "-o", name]);
        assert!(done.status.success(), "{}", said(&done));
        let shown = String::from_utf8_lossy(&done.stdout);
        assert!(notes.iter().all(|note| shown.contains(note)) && shown.contains("not tested"), "{shown}");
        let run = Run::read(&folder.path().join(name)).unwrap();
        let figures = run.quality().unwrap();
        assert!(figures.iter().all(|row| row.samples == Some(items)), "{figures:?}");
        let accuracy = &figures[0];
        // Wilson's interval of one of two is 0.095 to 0.905, and of one of one 0.207 to 1; of 40 of 80 it is 0.39 to 0.61.
        let lo = if name == "duplicates" { 0.0945 } else { 0.2065 };
        assert!((accuracy.lo.unwrap() - lo).abs() < 1e-3, "{accuracy:?}");
        assert_eq!(run.quality_items().unwrap().len() as f64, 2.0 * items);
        let record = run.record.quality.unwrap();
        assert_eq!(record.data[0].repeats as f64, if name == "duplicates" { 78.0 } else { 39.0 });
        assert!(record.data[0].notes[0].contains("count"), "{:?}", record.data[0].notes);
    }
}

#[test]
fn files_that_are_no_data_are_refused_with_their_line() {
    let folder = tempfile::tempdir().unwrap();
    let (ok, text) = (read("ok.jsonl"), read("nobom.txt"));
    let line =
        |more: &str| format!("{}{more}\n", ok.lines().take(2).map(|line| line.to_string() + "\n").collect::<String>());
    let utf16 = |text: &str, mark: &str| -> Vec<u8> {
        format!("{mark}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect()
    };
    let letters = ok.replace("\"answer\": 0", "\"answer\": \"A\"");
    let from_one = ok.replace("\"answer\": 2", "\"answer\": 3");
    for (name, bytes, why) in [
        ("utf16.txt", utf16(&text, "\u{feff}"), "utf16.txt: is UTF-16"),
        ("utf16-no-mark.txt", utf16(&text, ""), "utf16-no-mark.txt:1: has a NUL byte"),
        (
            "latin1.txt",
            [b"On\nMonday\nGer\xe4t".to_vec(), text.clone().into_bytes()].concat(),
            "latin1.txt:3: is not UTF-8",
        ),
        ("nul.txt", text.replacen("\nOn", "\n\0n", 1).into_bytes(), "nul.txt:2: has a NUL byte"),
        ("utf16.jsonl", utf16(&ok, "\u{feff}"), "utf16.jsonl: is UTF-16"),
        (
            "latin1.jsonl",
            [line("").into_bytes(), b"{\"context\":\"\xe4\"}".to_vec()].concat(),
            "latin1.jsonl:4: the line is not UTF-8",
        ),
        ("nul.jsonl", line("\0\0").into_bytes(), "nul.jsonl:3: the line has a NUL byte"),
        (
            "surrogate.jsonl",
            line(r#"{"context":"a \ud83d b","choices":[" r"," b"],"answer":0}"#).into_bytes(),
            "surrogate.jsonl:3: half of a character",
        ),
        ("letter.jsonl", letters.into_bytes(), "letter.jsonl:1: \"A\" is not the place"),
        (
            "string.jsonl",
            ok.replace("\"answer\": 1", "\"answer\": \"1\"").into_bytes(),
            "string.jsonl:2: \"1\" is not the place",
        ),
        (
            "one-based.jsonl",
            from_one.into_bytes(),
            "one-based.jsonl:3: `answer` is 3, but options are counted from 0 to 2",
        ),
        ("trailing.jsonl", line("{\"context\":").into_bytes(), "trailing.jsonl:3: is no whole object"),
        (
            "near.jsonl",
            line(r#"{"contxt":"a","choices":["b","c"],"answer":0}"#).into_bytes(),
            "near.jsonl:3: missing field `context`; is it what `contxt`",
        ),
        (
            "array.json",
            format!("[{}]", ok.lines().collect::<Vec<_>>().join(",")).into_bytes(),
            "array.json:1: begins an array",
        ),
    ] {
        is_refused(folder.path(), name, bytes, why);
    }
}

#[test]
fn files_with_nothing_in_them_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, why) in [
        ("empty.jsonl", b"\n \r\n".to_vec(), "empty.jsonl: is empty"),
        ("empty.txt", Vec::new(), "0 tokens do not fill a window"),
        ("spaces.txt", b" \n\t\n".to_vec(), "tokens do not fill a window"),
    ] {
        is_refused(folder.path(), name, bytes, why);
    }
}

fn is_refused(folder: &Path, name: &str, bytes: Vec<u8>, why: &str) {
    write(folder, name, bytes);
    let done = quality(folder, &["--data", name, "--quant", "f16", "-o", &format!("{name}.run")]);
    assert_eq!(done.status.code(), Some(1), "{name}: {}", said(&done));
    assert!(said(&done).contains(why), "{name}: {}", said(&done));
}

#[test]
fn columns_that_mean_nothing_here_are_passed_over() {
    let more = |index: usize, line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        value["id"] = index.into();
        value["subject"] = "tin".into();
        value["meta"] = serde_json::json!({"split": "test", "tags": [null, 1.5]});
        value.to_string() + "\n"
    };
    let ok = read("ok.jsonl");
    let exported: String = ok.lines().enumerate().map(|(index, line)| more(index, line)).collect();
    assert_eq!(evaluated(&set("q.jsonl", exported), 64), evaluated(&set("q.jsonl", ok), 64));
}

#[test]
fn a_copy_of_the_data_is_no_calibration() {
    let folder = tempfile::tempdir().unwrap();
    let text = read("nobom.txt");
    write(folder.path(), "t.txt", &text);
    write(folder.path(), "copy.txt", &text);
    for calibration in ["t.txt", "./t.txt", "copy.txt"] {
        let asked = ["--data", "t.txt", "--prune", "wanda:0.5", "--calibration", calibration, "-o", "x"];
        let done = quality(folder.path(), &asked);
        assert!(done.status.code() == Some(2) && said(&done).contains("one of the data sets"), "{}", said(&done));
    }
}
