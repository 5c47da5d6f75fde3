//! What models are for, and what the program asks and shows of each: one row a task.

use super::input::Input;
use super::model::family::Architecture;
use super::model::shape::ModelShape;
use super::sweep::Grid;
use serde::Serialize;
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

/// What a model is for.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Display,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Task {
    /// Text, token by token.
    Generate,
    /// A vector for each text.
    Embed,
    /// A score for each pair of texts.
    Rerank,
    /// A class for each image.
    ClassifyImage,
    /// A vector for each image.
    EmbedImage,
    /// The text of each recording of speech.
    Transcribe,
}

/// What a task is paid for by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priced {
    /// A million generated tokens.
    MillionTokens,
    /// A thousand requests, whatever one of them gives.
    ThousandRequests,
}

/// What the program asks and shows of a task. Whatever differs between tasks and is no computation of a model stands
/// here and nowhere else.
pub struct TaskInfo {
    /// Whether tokens are generated one after the other: there is a time to the first and a time for each further one,
    /// and a key-value cache. Else there is one pass and its time.
    pub generates: bool,
    /// Whether its times are carried over to hardware that they were not measured on: that takes measurements of the kind
    /// on cards.
    pub is_projected: bool,
    /// What its models do, behind "the model".
    pub does: &'static str,
    /// What one request gives.
    pub result: &'static str,
    /// The same in the plural.
    pub results: &'static str,
    /// What costs are told for.
    pub unit: &'static str,
    /// The cost that is told.
    pub priced: Priced,
    /// Titles of the columns of a table of cases.
    pub titles: Titles,
    /// What has to be said of lengths and times below such a table.
    pub note: &'static str,
    /// Whether its models take such an input.
    pub takes: fn(&Input) -> bool,
    /// Makes the lengths of a sweep those that a model can run; the error names an axis that makes no sense for it.
    pub fit_grid: fn(&mut Grid, &ModelShape) -> Result<(), String>,
}

/// Titles of the columns of a table of cases.
pub struct Titles {
    /// Of what goes in and comes out.
    pub lengths: &'static str,
    /// Of the time to the first token, or of the whole pass.
    pub first: &'static str,
    /// Of the rate at which tokens of the input are taken in.
    pub intake: &'static str,
}

const GENERATE: TaskInfo = TaskInfo {
    generates: true,
    is_projected: true,
    does: "generates text",
    result: "a request",
    results: "requests",
    unit: "million generated tokens",
    priced: Priced::MillionTokens,
    titles: Titles { lengths: "tokens", first: "TTFT", intake: "prefill" },
    note: "tokens are prompt + generated; TTFT is of the whole batch",
    // Other tools time prefills apart, in one pass.
    takes: |input| matches!(input, Input::Generate { .. } | Input::Text { .. }),
    fit_grid: |grid, _| {
        if grid.gen_tokens.is_empty() || grid.prompt.is_empty() {
            return Err("gen_tokens or prompt is empty, but the model generates text".to_string());
        }
        grid.has_no_images(Task::Generate)
    },
};

const EMBED: TaskInfo = TaskInfo {
    generates: false,
    is_projected: false,
    does: "embeds texts",
    result: "an embedding",
    results: "embeddings",
    unit: "thousand embeddings",
    priced: Priced::ThousandRequests,
    titles: Titles { lengths: "tokens", first: "time", intake: "tokens/s" },
    note: ONE_PASS,
    takes: |input| matches!(input, Input::Text { .. }),
    fit_grid: |grid, shape| {
        grid.has_no_images(Task::Embed)?;
        grid.prompt.retain(|tokens| *tokens <= shape.max_context);
        if grid.prompt.is_empty() {
            grid.prompt = vec![shape.max_context];
        }
        grid.one_pass(Task::Embed)
    },
};

const CLASSIFY_IMAGE: TaskInfo = TaskInfo {
    generates: false,
    is_projected: false,
    does: "classifies images",
    result: "a classified image",
    results: "images",
    unit: "thousand images",
    priced: Priced::ThousandRequests,
    titles: Titles { lengths: "image", first: "time", intake: "patches/s" },
    note: ONE_PASS,
    takes: |input| matches!(input, Input::Image { .. }),
    fit_grid: |grid, shape| {
        let image = shape.image.ok_or("the model classifies images, but its shape has no size of one")?;
        if grid.image.is_empty() {
            grid.image = vec![image.size];
        }
        grid.prompt = grid.image.iter().map(|side| image.tokens(*side)).collect();
        grid.one_pass(Task::ClassifyImage)
    },
};

const RERANK: TaskInfo = TaskInfo {
    does: "scores pairs of texts",
    result: "a scored pair",
    results: "pairs",
    unit: "thousand pairs",
    fit_grid: |_, _| Err(Task::Rerank.not_supported()),
    ..EMBED
};

const EMBED_IMAGE: TaskInfo = TaskInfo {
    does: "embeds images",
    result: "an embedded image",
    fit_grid: |_, _| Err(Task::EmbedImage.not_supported()),
    ..CLASSIFY_IMAGE
};

const TRANSCRIBE: TaskInfo = TaskInfo {
    generates: true,
    is_projected: false,
    does: "transcribes speech",
    result: "a transcript",
    results: "transcripts",
    unit: "thousand transcripts",
    priced: Priced::ThousandRequests,
    titles: Titles { lengths: "audio", first: "TTFT", intake: "audio tokens/s" },
    note: "audio is seconds of speech + generated tokens; TTFT is of the whole batch",
    takes: |input| matches!(input, Input::Audio { .. }),
    // No engine computes it yet: a sweep is refused before anything is loaded.
    fit_grid: |_, _| Err(Task::Transcribe.not_supported()),
};

/// Of tasks that take one pass.
const ONE_PASS: &str = "time is of the whole batch, from the inputs to the results on the host";

impl Task {
    /// Its row of the table.
    pub fn info(self) -> &'static TaskInfo {
        match self {
            Self::Generate => &GENERATE,
            Self::Embed => &EMBED,
            Self::Rerank => &RERANK,
            Self::ClassifyImage => &CLASSIFY_IMAGE,
            Self::EmbedImage => &EMBED_IMAGE,
            Self::Transcribe => &TRANSCRIBE,
        }
    }

    /// As `sizewell` calls it.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// What one request gives, in the plural.
    pub fn results(self) -> &'static str {
        self.info().results
    }

    /// Whether tokens are generated one after the other.
    pub fn generates(self) -> bool {
        self.info().generates
    }

    /// That no engine computes it, and which tasks are computed.
    fn not_supported(self) -> String {
        let runs = |task: &Self| Architecture::ALL.iter().any(|of| of.task() == *task && of.family().runs);
        let others = Self::VARIANTS.iter().filter(|task| runs(task)).map(|task| task.name());
        format!("{self} is not supported by any engine; supported are {}", others.collect::<Vec<_>>().join(", "))
    }

    /// The error of an input that its models do not take.
    pub fn check(self, input: &Input) -> Result<(), String> {
        if (self.info().takes)(input) {
            Ok(())
        } else {
            Err(format!("{} is not supported: the model {}", input.what(), self.info().does))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Preset;
    use std::num::NonZeroUsize;

    #[test]
    fn a_task_takes_its_own_inputs_and_names_others() {
        let image = Input::Image { side: 224, tokens: 197 };
        assert!(Task::ClassifyImage.check(&image).is_ok() && Task::Embed.check(&Input::text(8, 0)).is_ok());
        assert!(Task::Generate.check(&Input::text(8, 0)).is_ok() && Task::Generate.check(&Input::text(8, 2)).is_ok());
        assert_eq!(Task::Generate.check(&image).unwrap_err(), "an image is not supported: the model generates text");
        assert!(Task::Embed.check(&Input::text(8, 2)).unwrap_err().ends_with("the model embeds texts"));
        let audio = Input::Audio { seconds: 30, gen_tokens: NonZeroUsize::MIN };
        assert_eq!(Task::Generate.check(&audio).unwrap_err(), "a recording is not supported: the model generates text");
        assert!(Task::Transcribe.check(&audio).is_ok() && Task::Transcribe.check(&image).is_err());
        let shape = Preset::named("smollm2-135m").unwrap().shape;
        assert_eq!(
            (Task::Transcribe.info().fit_grid)(&mut Grid::default(), &shape).unwrap_err(),
            "transcribe is not supported by any engine; supported are generate, embed, classify-image"
        );
        for task in Task::VARIANTS {
            assert_eq!(serde_json::to_value(task).unwrap(), task.name());
        }
    }
}
