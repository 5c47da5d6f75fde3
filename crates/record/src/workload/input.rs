//! What goes into a model for one request, and how much is to come out.

use std::num::NonZeroUsize;

/// One length of an input, with what it is called wherever it shows.
#[derive(Debug, PartialEq, Eq)]
pub struct Axis {
    /// On the command line; `None` where no command takes it yet.
    pub flag: Option<&'static str>,
    /// What stands before the number in the name of a case.
    pub letter: &'static str,
    /// What stands behind the number in a table.
    pub unit: &'static str,
}

/// Tokens of a prompt or text.
pub static PROMPT: Axis = Axis { flag: Some("--prompt"), letter: "p", unit: "" };
/// Tokens that are generated.
pub static GENERATED: Axis = Axis { flag: Some("--gen-tokens"), letter: "g", unit: "" };
/// Pixels of an image's side.
pub static IMAGE_SIDE: Axis = Axis { flag: Some("--image-size"), letter: "i", unit: " px" };

/// Seconds of speech.
pub static AUDIO: Axis = Axis { flag: None, letter: "a", unit: " s" };

/// What one sequence of a case takes in, and what it is to give. Each is one kind of work with the lengths that it has:
/// an image that generates tokens cannot be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Input {
    /// A prompt, prefilled and then decoded token by token.
    Generate {
        /// Tokens of the prompt; 0 where a tool timed the decoding alone.
        prompt_tokens: usize,
        /// Tokens that are generated; the first comes from the prefill.
        gen_tokens: NonZeroUsize,
    },
    /// A text in one pass with nothing generated behind it: one to embed, or a prompt whose prefill a tool timed alone.
    Text {
        /// Its tokens; 0 where a tool does not say how long it was.
        tokens: usize,
    },
    /// An image to classify, in one pass.
    Image {
        /// Pixels of its side.
        side: usize,
        /// Its patches and one more. They follow from the side and the model's patches, and are kept beside it because a
        /// record has to be read without the model's shape.
        tokens: usize,
    },
    /// A recording of speech to write down: encoded in one pass, then decoded token by token.
    Audio {
        /// Its seconds.
        seconds: usize,
        /// Tokens of the transcript.
        gen_tokens: NonZeroUsize,
    },
}

impl Input {
    /// A prompt with so many tokens to generate, or one pass over it where there are none.
    pub const fn text(prompt_tokens: usize, gen_tokens: usize) -> Self {
        match NonZeroUsize::new(gen_tokens) {
            Some(gen_tokens) => Self::Generate { prompt_tokens, gen_tokens },
            None => Self::Text { tokens: prompt_tokens },
        }
    }

    /// Tokens that go in: of a prompt or text, or of an image its patches and one more; of a recording none, as its frames
    /// are no tokens.
    pub const fn prompt_tokens(&self) -> usize {
        match self {
            Self::Generate { prompt_tokens, .. } => *prompt_tokens,
            Self::Text { tokens } | Self::Image { tokens, .. } => *tokens,
            Self::Audio { .. } => 0,
        }
    }

    /// Tokens that are generated; 0 where there is one pass only.
    pub const fn gen_tokens(&self) -> usize {
        match self {
            Self::Generate { gen_tokens, .. } | Self::Audio { gen_tokens, .. } => gen_tokens.get(),
            Self::Text { .. } | Self::Image { .. } => 0,
        }
    }

    /// Pixels of an image's side.
    pub const fn image_side(&self) -> Option<usize> {
        match self {
            Self::Image { side, .. } => Some(*side),
            Self::Generate { .. } | Self::Text { .. } | Self::Audio { .. } => None,
        }
    }

    /// Seconds of a recording.
    pub const fn audio_seconds(&self) -> Option<usize> {
        match self {
            Self::Audio { seconds, .. } => Some(*seconds),
            Self::Generate { .. } | Self::Text { .. } | Self::Image { .. } => None,
        }
    }

    /// The same with so many tokens going in.
    pub fn with_prompt(self, prompt: usize) -> Self {
        match self {
            Self::Generate { gen_tokens, .. } => Self::Generate { prompt_tokens: prompt, gen_tokens },
            Self::Text { .. } => Self::Text { tokens: prompt },
            Self::Image { side, .. } => Self::Image { side, tokens: prompt },
            Self::Audio { .. } => self,
        }
    }

    /// The lengths that tell it from others of its kind, in the order that names and command lines have them.
    pub fn lengths(&self) -> Vec<(&'static Axis, usize)> {
        match *self {
            Self::Generate { prompt_tokens, gen_tokens } => {
                vec![(&PROMPT, prompt_tokens), (&GENERATED, gen_tokens.get())]
            }
            Self::Text { tokens } => vec![(&PROMPT, tokens)],
            Self::Image { side, .. } => vec![(&IMAGE_SIDE, side)],
            Self::Audio { seconds, gen_tokens } => vec![(&AUDIO, seconds), (&GENERATED, gen_tokens.get())],
        }
    }

    /// What it is, for messages.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Generate { .. } => "a prompt with tokens to generate",
            Self::Text { .. } => "a text in one pass",
            Self::Image { .. } => "an image",
            Self::Audio { .. } => "a recording",
        }
    }

    /// Whether every length is at most `most`, and there is something of what has to be there.
    pub(super) fn is_within(&self, most: usize) -> bool {
        let side = self.image_side().is_none_or(|side| (1..=most).contains(&side));
        let seconds = self.audio_seconds().is_none_or(|seconds| (1..=most).contains(&seconds));
        self.prompt_tokens() <= most && self.gen_tokens() <= most && side && seconds
    }
}
