//! The lengths of requests: one pair, or a histogram of a trace.

use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Prompt and generated tokens of requests, with how often they occur.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lengths {
    /// `(prompt tokens, generated tokens, share)`; shares add up to 1.
    pub bins: Vec<(usize, usize, f64)>,
}

impl Lengths {
    /// All requests alike.
    pub fn of(prompt_tokens: usize, gen_tokens: usize) -> Self {
        Self { bins: vec![(prompt_tokens, gen_tokens, 1.0)] }
    }

    /// Reads a CSV file with the columns `prompt_tokens`, `gen_tokens` and perhaps `count`; without it, each row is a
    /// request. Others are passed over, so that a trace can be given as it is.
    pub fn read(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let mut reader = csv::Reader::from_path(path).map_err(|e| format!("{name}: {e}"))?;
        let headers = reader.headers().map_err(|e| format!("{name}: {e}"))?.clone();
        let column = |wanted: &str| headers.iter().position(|h| h.trim() == wanted);
        let need = |wanted: &str| column(wanted).ok_or(format!("{name}:1: there is no column {wanted}"));
        let (prompt, generated, count) = (need("prompt_tokens")?, need("gen_tokens")?, column("count"));
        let mut bins: BTreeMap<(usize, usize), f64> = BTreeMap::new();
        for (index, record) in reader.records().enumerate() {
            let line = index + 2;
            let record = record.map_err(|e| format!("{name}:{line}: {e}"))?;
            let tokens = |column: usize, what: &str| match record[column].trim().parse::<usize>() {
                Ok(tokens) if tokens > 0 => Ok(tokens),
                _ => Err(format!("{name}:{line}: {what} is `{}`; it must be a whole number above 0", &record[column])),
            };
            let weight = match count {
                None => 1.0,
                Some(column) => match record[column].trim().parse::<f64>() {
                    Ok(weight) if weight.is_finite() && weight >= 0.0 => weight,
                    _ => return Err(format!("{name}:{line}: count is `{}`; it must be 0 or more", &record[column])),
                },
            };
            *bins.entry((tokens(prompt, "prompt_tokens")?, tokens(generated, "gen_tokens")?)).or_default() += weight;
        }
        let sum: f64 = bins.values().sum();
        if sum <= 0.0 {
            return Err(format!("{name}: there is no request in it"));
        }
        Ok(Self { bins: bins.into_iter().map(|((p, g), weight)| (p, g, weight / sum)).collect() })
    }

    /// Prompt tokens in the mean.
    pub fn mean_prompt(&self) -> f64 {
        self.bins.iter().map(|(prompt, _, share)| *prompt as f64 * share).sum()
    }

    /// Generated tokens in the mean.
    pub fn mean_gen(&self) -> f64 {
        self.bins.iter().map(|(_, generated, share)| *generated as f64 * share).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_becomes_shares_and_a_bad_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lengths.csv");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Lengths::read(&path)
        };
        let trace = read("when,prompt_tokens,gen_tokens\n1,100,10\n2,100,10\n3,300,50\n4,100,10\n").unwrap();
        assert_eq!(trace.bins, [(100, 10, 0.75), (300, 50, 0.25)]);
        assert_eq!((trace.mean_prompt(), trace.mean_gen()), (150.0, 20.0));
        let counted = read("prompt_tokens,gen_tokens,count\n100,10,3\n300,50,1\n").unwrap();
        assert_eq!(counted, trace);
        for (text, part) in [
            ("prompt,gen_tokens\n1,1\n", "no column prompt_tokens"),
            ("prompt_tokens,gen_tokens\n0,1\n", ":2: prompt_tokens is `0`"),
            ("prompt_tokens,gen_tokens\n1,1\n1,many\n", ":3: gen_tokens is `many`"),
            ("prompt_tokens,gen_tokens,count\n1,1,-1\n", "count is `-1`"),
            ("prompt_tokens,gen_tokens\n", "no request"),
        ] {
            assert!(read(text).unwrap_err().contains(part), "{text}");
        }
    }
}
