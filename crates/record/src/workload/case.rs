//! One point of a sweep.

use super::columns::Columns;
use super::input::Input;
use super::model::cache::CacheType;
use super::quant::Quant;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::num::NonZeroUsize;

/// What one measurement runs: a batch of prompts, prefilled and then decoded token by token; or a batch of texts to embed,
/// or of images to classify, in one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "FlatCase", into = "FlatCase")]
pub struct Case {
    /// Precision of the weights.
    pub quant: Quant,
    /// Sequences that run together.
    pub batch: usize,
    /// What each of them takes in, and what it is to give.
    pub input: Input,
    /// Precision of the key-value cache; `None` is the engine's own choice.
    pub cache: Option<CacheType>,
}

/// A case as files have it: all lengths side by side, 0 or absent where its kind of input has none.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct FlatCase {
    quant: Quant,
    batch: usize,
    prompt_tokens: usize,
    gen_tokens: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cache: Option<CacheType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image_size: Option<usize>,
    // Not among the columns of cases.csv before an engine runs such cases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    audio_s: Option<usize>,
}

impl From<Case> for FlatCase {
    fn from(case: Case) -> Self {
        Self {
            quant: case.quant,
            batch: case.batch,
            prompt_tokens: case.prompt_tokens(),
            gen_tokens: case.gen_tokens(),
            cache: case.cache,
            image_size: case.image_side(),
            audio_s: case.input.audio_seconds(),
        }
    }
}

impl TryFrom<FlatCase> for Case {
    type Error = String;

    /// What a file says may be anything: the error says what cannot be of it.
    fn try_from(flat: FlatCase) -> Result<Self, String> {
        let FlatCase { quant, batch, prompt_tokens, gen_tokens, cache, image_size, audio_s } = flat;
        let input = match (image_size, audio_s, NonZeroUsize::new(gen_tokens)) {
            (None, None, _) => Input::text(prompt_tokens, gen_tokens),
            (Some(side), None, None) => Input::Image { side, tokens: prompt_tokens },
            (Some(side), None, Some(generated)) => {
                return Err(format!("an image of {side} pixels is classified, and generates no {generated} tokens"));
            }
            (None, Some(seconds), Some(gen_tokens)) if prompt_tokens == 0 => Input::Audio { seconds, gen_tokens },
            (_, Some(seconds), _) => {
                return Err(format!(
                    "a recording of {seconds} s has no prompt and no image, and a transcript of tokens"
                ));
            }
        };
        let case = Self { quant, batch, input, cache };
        if case.is_possible() { Ok(case) } else { Err(format!("{case}: no case has this batch and these lengths")) }
    }
}

/// The largest batch and the longest prompt or answer that a case can have: far above any model's, and so small that no
/// sum or product of two overflows.
const MOST: usize = 1 << 30;

impl Case {
    /// A batch of prompts with the engine's own cache; of texts in one pass, where no tokens are generated.
    pub const fn new(quant: Quant, batch: usize, prompt_tokens: usize, gen_tokens: usize) -> Self {
        Self { quant, batch, input: Input::text(prompt_tokens, gen_tokens), cache: None }
    }

    /// Tokens of each prompt or text; of an image, its patches and one more.
    pub const fn prompt_tokens(&self) -> usize {
        self.input.prompt_tokens()
    }

    /// Tokens that each sequence generates; the first comes from the prefill. 0 where there is one pass only.
    pub const fn gen_tokens(&self) -> usize {
        self.input.gen_tokens()
    }

    /// Pixels of an image's side.
    pub const fn image_side(&self) -> Option<usize> {
        self.input.image_side()
    }

    /// Whether tokens are generated, one after the other.
    pub const fn generates(&self) -> bool {
        self.gen_tokens() > 0
    }

    /// Tokens of a sequence that costs and energy are counted by: those generated, or those that go in where none are.
    pub const fn counted_tokens(&self) -> usize {
        if self.generates() { self.gen_tokens() } else { self.prompt_tokens() }
    }

    /// Times that one iteration takes: one for each token, or the one of a pass that generates nothing.
    pub fn steps(&self) -> usize {
        self.gen_tokens().max(1)
    }

    /// The longest sequence of the case.
    pub fn context(&self) -> usize {
        self.prompt_tokens() + self.gen_tokens()
    }

    /// The position in the middle of the generated tokens, whose step takes the mean time of all.
    pub fn middle(&self) -> f64 {
        self.prompt_tokens() as f64 + self.gen_tokens() as f64 / 2.0
    }

    /// The case with its sequences so long, prompt and generated tokens together.
    pub fn with_context(self, context: usize) -> Self {
        Self { input: self.input.with_prompt(context.saturating_sub(self.gen_tokens())), ..self }
    }

    /// Level, batch, lengths and cache in one word, as `int8.b4.p128.g32`.
    pub fn id(&self) -> String {
        self.parts().join(".")
    }

    fn parts(&self) -> Vec<String> {
        let mut parts = vec![self.quant.to_string(), format!("b{}", self.batch)];
        parts.extend(self.input.lengths().iter().map(|(axis, value)| format!("{}{value}", axis.letter)));
        parts.extend(self.cache.map(|cache| format!("kv-{cache}")));
        parts
    }

    /// Whether it has sequences, in numbers and of lengths that can be.
    pub fn is_possible(&self) -> bool {
        (1..=MOST).contains(&self.batch) && self.input.is_within(MOST)
    }

    /// The columns that say what a case is, in the order of cases.csv.
    pub const COLUMNS: [&'static str; 6] = ["quant", "batch", "prompt_tokens", "gen_tokens", "kv_cache", "image_size"];

    /// The values under [`Case::COLUMNS`]; null is an empty field.
    pub fn columns(&self) -> [(&'static str, Value); 6] {
        let FlatCase { quant, batch, prompt_tokens, gen_tokens, cache, image_size, .. } = (*self).into();
        let cache = cache.map(CacheType::name);
        let values: [Value; 6] = [
            quant.name().into(),
            batch.into(),
            prompt_tokens.into(),
            gen_tokens.into(),
            cache.into(),
            image_size.into(),
        ];
        std::array::from_fn(|place| (Self::COLUMNS[place], values[place].clone()))
    }

    /// The case that the columns of a row say; the error names the column, or what cannot be.
    pub fn from_columns(columns: Columns<'_>) -> Result<Self, String> {
        Self::try_from(FlatCase {
            quant: columns.parsed("quant")?,
            batch: columns.parsed("batch")?,
            prompt_tokens: columns.parsed("prompt_tokens")?,
            gen_tokens: columns.parsed("gen_tokens")?,
            cache: columns.optional("kv_cache")?,
            image_size: columns.optional("image_size")?,
            audio_s: None,
        })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.parts().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_reads_back_from_its_flat_form_and_keeps_its_name() {
        let image = Case { input: Input::Image { side: 224, tokens: 197 }, ..Case::new(Quant::F16, 2, 0, 0) };
        let cached = Case { cache: Some(CacheType::Int8), ..Case::new(Quant::Int8, 4, 128, 32) };
        let audio = Input::Audio { seconds: 30, gen_tokens: NonZeroUsize::MIN };
        let audio = Case { input: audio, ..Case::new(Quant::F16, 1, 0, 0) };
        for (case, id, text) in [
            (audio, "f16.b1.a30.g1", r#"{"quant":"f16","batch":1,"prompt_tokens":0,"gen_tokens":1,"audio_s":30}"#),
            (
                cached,
                "int8.b4.p128.g32.kv-int8",
                r#"{"quant":"int8","batch":4,"prompt_tokens":128,"gen_tokens":32,"cache":"int8"}"#,
            ),
            (
                Case::new(Quant::F16, 1, 9, 0),
                "f16.b1.p9",
                r#"{"quant":"f16","batch":1,"prompt_tokens":9,"gen_tokens":0}"#,
            ),
            (image, "f16.b2.i224", r#"{"quant":"f16","batch":2,"prompt_tokens":197,"gen_tokens":0,"image_size":224}"#),
        ] {
            assert_eq!(case.id(), id);
            assert_eq!(serde_json::to_string(&case).unwrap(), text);
            assert_eq!(serde_json::from_str::<Case>(text).unwrap(), case);
        }
    }

    #[test]
    fn what_cannot_be_is_an_error_that_says_so() {
        let read =
            |rest: &str| serde_json::from_str::<Case>(&format!(r#"{{"quant":"f16",{rest}}}"#)).unwrap_err().to_string();
        let error = read(r#""batch":1,"prompt_tokens":197,"gen_tokens":5,"image_size":224"#);
        assert!(error.contains("an image of 224 pixels is classified, and generates no 5 tokens"), "{error}");
        let error = read(r#""batch":1,"prompt_tokens":0,"gen_tokens":5,"image_size":224,"audio_s":30"#);
        assert!(error.contains("a recording of 30 s has no prompt and no image"), "{error}");
        let error = read(r#""batch":0,"prompt_tokens":8,"gen_tokens":4"#);
        assert!(error.contains("f16 b0 p8 g4: no case has this batch and these lengths"), "{error}");
        let error = read(r#""batch":1,"prompt_tokens":1,"gen_tokens":0,"image_size":0"#);
        assert!(error.contains("no case has"), "{error}");
    }

    #[test]
    fn a_case_of_another_length_keeps_what_it_generates() {
        let case = Case::new(Quant::F16, 1, 128, 32).with_context(1000);
        assert_eq!((case.prompt_tokens(), case.gen_tokens(), case.context()), (968, 32, 1000));
        assert_eq!(case.with_context(8).prompt_tokens(), 0);
        assert_eq!(Case::new(Quant::F16, 1, 128, 0).with_context(64).context(), 64);
    }
}
