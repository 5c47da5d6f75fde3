//! llama-bench as it prints without `-o`, a Markdown table, and as SQL: turned into its own JSON records, and read as those.
//!
//! The table rounds (sizes to 0.01 GiB, parameters to 0.01 billion) and names a kind of model, not its file; cards are named
//! only in the lines that llama.cpp logs before it, and without those it is taken at its word that a card was there.

use super::llama_bench::LlamaBench;
use super::source::Source;
use super::{EvidenceError, ImportedFile, Importer};
use serde_json::{Map, Value, json};

/// The Markdown table.
pub(crate) struct Markdown;

/// Statements that insert into a table.
pub(crate) struct Sql;

impl Importer for Markdown {
    fn name(&self) -> &'static str {
        "llama-bench-markdown"
    }

    fn tool(&self) -> &'static str {
        "llama-bench"
    }

    fn recognises(&self, source: &Source) -> bool {
        source.text.lines().any(is_header)
    }

    fn read(&self, source: &Source) -> Result<ImportedFile, EvidenceError> {
        let mut found = ImportedFile::default();
        let records = rows(source, &mut found);
        if records.is_empty() {
            return Err(source.error(None, "there is no row in its table"));
        }
        let mut read = LlamaBench.read(&source.derived(&records))?;
        for observed in &mut read.observed {
            observed.parameters = None;
            observed.notes.push("from a table that rounds; its model is a kind, not a file".to_string());
        }
        found.take(read);
        Ok(found)
    }
}

fn cells(line: &str) -> Option<Vec<&str>> {
    let line = line.trim().strip_prefix('|')?;
    Some(line.strip_suffix('|').unwrap_or(line).split('|').map(str::trim).collect())
}

fn is_header(line: &str) -> bool {
    let Some(cells) = cells(line) else { return false };
    ["model", "params", "test", "t/s"].iter().all(|name| cells.contains(name))
}

/// What the lines before a table say of the cards: `Device 0: NVIDIA L4, compute capability ...`.
fn card(line: &str) -> Option<String> {
    let line = line.trim();
    if let Some((number, name)) = line.strip_prefix("Device ").and_then(|rest| rest.split_once(": ")) {
        let name = name.split(',').next().unwrap_or(name).trim();
        return number.parse::<usize>().is_ok().then(|| name.to_string());
    }
    if let Some((number, rest)) = line.strip_prefix("ggml_vulkan: ").and_then(|rest| rest.split_once(" = ")) {
        let name = rest.split(" (").next().unwrap_or(rest).trim();
        return number.parse::<usize>().is_ok().then(|| name.to_string());
    }
    let name = line.split_once("GPU name:").filter(|(before, _)| before.starts_with("ggml_metal"))?.1.trim();
    // Newer builds call the device by its place: MTL0.
    (!name.is_empty() && !name.starts_with("MTL")).then(|| name.to_string())
}

fn rows(source: &Source, found: &mut ImportedFile) -> Vec<Value> {
    let build = source.text.lines().filter_map(|line| line.trim().strip_prefix("build: ")).next();
    let commit = build.and_then(|build| build.split_whitespace().next());
    let none_found = source.text.lines().any(|line| line.contains("failed to initialize CUDA"));
    let (mut header, mut cards, mut records): (Vec<&str>, Vec<String>, Vec<Value>) = Default::default();
    for line in source.text.lines() {
        match cells(line) {
            None => cards.extend(card(line)),
            Some(_) if is_header(line) => header = cells(line).unwrap_or_default(),
            Some(cells) if cells.iter().all(|cell| cell.trim_matches([':', '-', ' ']).is_empty()) => {}
            Some(cells) if header.is_empty() || cells.len() != header.len() => {
                found.skip("whose row does not fit a header");
            }
            Some(cells) => match row(&header, &cells) {
                Ok(mut record) => {
                    // An empty text says that none was found; where nothing says so, a card was there.
                    if none_found || !cards.is_empty() {
                        record.insert("gpu_info".into(), cards.join(", ").into());
                    }
                    record.insert("build_commit".into(), commit.into());
                    records.push(Value::Object(record));
                }
                Err(why) => found.skip(format!("that cannot be read: {why}")),
            },
        }
    }
    records
}

/// Columns that stand there where an option was not the usual one, and the keys that they are of.
const COLUMNS: [(&str, &str); 16] = [
    ("backend", "backends"),
    ("ngl", "n_gpu_layers"),
    ("threads", "n_threads"),
    ("n_batch", "n_batch"),
    ("n_ubatch", "n_ubatch"),
    ("type_k", "type_k"),
    ("type_v", "type_v"),
    ("sm", "split_mode"),
    ("mg", "main_gpu"),
    ("nkvo", "no_kv_offload"),
    ("fa", "flash_attn"),
    ("dev", "devices"),
    ("ts", "tensor_split"),
    ("ot", "tensor_buft_overrides"),
    ("nopo", "no_op_offload"),
    ("n_cpu_moe", "n_cpu_moe"),
];

fn row(header: &[&str], cells: &[&str]) -> Result<Map<String, Value>, String> {
    let cell = |name: &str| header.iter().position(|column| *column == name).map(|place| cells[place]).unwrap_or("");
    let (prompt, generated, depth) = test(cell("test"))?;
    let (rate, deviation) = cell("t/s").split_once('±').unwrap_or((cell("t/s"), ""));
    let rate: f64 = rate.trim().parse().map_err(|_| format!("`{}` is not a rate", cell("t/s")))?;
    let record = json!({
        "model_filename": cell("model"),
        "model_type": cell("model"),
        "model_size": scaled(cell("size"), &[("GiB", (1_u64 << 30) as f64), ("MiB", (1_u64 << 20) as f64)])?,
        "model_n_params": scaled(cell("params"), &[("B", 1e9), ("M", 1e6)])?,
        "cpu_info": "",
        "n_prompt": prompt,
        "n_gen": generated,
        "n_depth": depth,
        "avg_ts": rate,
        "stddev_ts": deviation.trim().parse::<f64>().ok(),
    });
    let Value::Object(mut record) = record else { return Err("it is no record".to_string()) };
    for (column, key) in COLUMNS {
        let text = cell(column);
        let number = text.parse::<i64>().map(Value::from);
        if !text.is_empty() {
            record.insert(key.into(), number.unwrap_or_else(|_| text.into()));
        }
    }
    Ok(record)
}

/// A number with a unit.
fn scaled(text: &str, units: &[(&str, f64)]) -> Result<f64, String> {
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let factor = units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| factor);
    match (number.parse::<f64>(), factor) {
        (Ok(number), Some(factor)) => Ok(number * factor),
        _ => Err(format!("`{text}` has no unit that is known")),
    }
}

/// Prompt, generated tokens and depth of `pp512`, `tg128 @ d4096`, `pp512+tg128`, and of `pp 512` as older ones wrote.
fn test(text: &str) -> Result<(usize, usize, usize), String> {
    let fail = || format!("`{text}` is not a test that is known");
    let (test, depth) = text.split_once('@').unwrap_or((text, "d0"));
    let depth = depth.trim().strip_prefix('d').and_then(|depth| depth.parse().ok()).ok_or_else(fail)?;
    let (mut prompt, mut generated) = (0, 0);
    for part in test.split('+') {
        let part = part.trim();
        let number = |kind: &str| part.strip_prefix(kind).and_then(|number| number.trim().parse::<usize>().ok());
        match (number("pp"), number("tg")) {
            (Some(tokens), _) => prompt += tokens,
            (_, Some(tokens)) => generated += tokens,
            _ => return Err(fail()),
        }
    }
    Ok((prompt, generated, depth))
}

impl Importer for Sql {
    fn name(&self) -> &'static str {
        "llama-bench-sql"
    }

    fn tool(&self) -> &'static str {
        "llama-bench"
    }

    fn recognises(&self, source: &Source) -> bool {
        let keys = ["INSERT INTO", "build_commit", "model_n_params", "avg_ts"];
        keys.iter().all(|key| source.text.contains(key))
    }

    fn read(&self, source: &Source) -> Result<ImportedFile, EvidenceError> {
        let mut found = ImportedFile::default();
        let mut records = Vec::new();
        for (index, statement) in source.text.split("INSERT INTO ").skip(1).enumerate() {
            match insert(statement) {
                Some(record) => records.push(record),
                None => {
                    found.skip(format!("that cannot be read: statement {} has not a value for each name", index + 1))
                }
            }
        }
        found.take(LlamaBench.read(&source.derived(&records))?);
        Ok(found)
    }
}

/// The record of `table (a, b) VALUES ('1', '2');`.
fn insert(statement: &str) -> Option<Value> {
    let (names, rest) = statement.split_once('(')?.1.split_once(')')?;
    let values = rest.trim_start().strip_prefix("VALUES")?.trim_start().strip_prefix('(')?;
    let names: Vec<&str> = names.split(',').map(|name| name.trim().trim_matches(['"', '`'])).collect();
    let values = literals(values)?;
    let record = names.iter().zip(&values).map(|(name, value)| (name.to_string(), value.clone()));
    (names.len() == values.len()).then(|| Value::Object(record.collect()))
}

/// Literals up to the bracket that closes them; two apostrophes in a text are one.
fn literals(text: &str) -> Option<Vec<Value>> {
    let (mut values, mut rest) = (Vec::new(), text.trim_start());
    loop {
        let value = match rest.strip_prefix('\'') {
            Some(quoted) => {
                let mut end = 0;
                while let Some(next) = quoted[end..].find('\'') {
                    end += next;
                    if !quoted[end + 1..].starts_with('\'') {
                        break;
                    }
                    end += 2;
                }
                let inner = quoted.get(..end).filter(|_| quoted[end..].starts_with('\''))?;
                rest = &quoted[end + 1..];
                inner.replace("''", "'")
            }
            None => {
                let end = rest.find([',', ')'])?;
                let word = rest[..end].trim();
                rest = &rest[end..];
                if word.eq_ignore_ascii_case("null") { String::new() } else { word.to_string() }
            }
        };
        values.push(super::value::typed(&value));
        rest = rest.trim_start();
        match rest.strip_prefix(',') {
            Some(more) => rest = more.trim_start(),
            None => return rest.starts_with(')').then_some(values),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_named_in_several_ways() {
        assert_eq!(test("pp512"), Ok((512, 0, 0)));
        assert_eq!(test("pp 512"), Ok((512, 0, 0)));
        assert_eq!(test("tg128 @ d4096"), Ok((0, 128, 4096)));
        assert_eq!(test("pp512+tg128"), Ok((512, 128, 0)));
        assert!(test("xx1").is_err() && test("pp").is_err() && test("pp512 @ 3").is_err());
    }

    #[test]
    fn cards_are_named_before_the_table() {
        let named = |line: &str| card(line).unwrap_or_default();
        assert_eq!(named("  Device 0: NVIDIA L4, compute capability 8.9, VMM: yes"), "NVIDIA L4");
        assert_eq!(
            named("ggml_vulkan: 0 = AMD Radeon RX 7900 XTX (RADV NAVI31) (radv) | uma: 0"),
            "AMD Radeon RX 7900 XTX"
        );
        assert_eq!(named("ggml_metal_init: GPU name:   Apple M2 Max"), "Apple M2 Max");
        assert_eq!(named("ggml_cuda_init: found 1 CUDA devices:"), "");
    }

    #[test]
    fn literals_of_sql_are_read_to_their_bracket() {
        let values = literals("'a''b', 1.5, NULL, 'x, (y)', '7');").unwrap();
        assert_eq!(values, [json!("a'b"), json!(1.5), Value::Null, json!("x, (y)"), json!(7)]);
        assert!(literals("'a").is_none() && literals("1, 2").is_none());
        assert!(insert("test (a, b) VALUES ('1');").is_none());
    }
}
