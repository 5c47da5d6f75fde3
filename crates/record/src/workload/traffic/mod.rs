//! Traffic as data: when requests come, and what they ask.

pub mod arrivals;
pub mod lengths;
mod prompt_file;
pub mod prompts;
pub mod trace;
mod trace_time;

pub use arrivals::{Arrivals, Schedule};
pub use lengths::LengthDistribution;
pub use prompts::{Prompt, PromptSource, Wording};
pub use trace::{Trace, TraceRequest};
pub use trace_time::TimeUnit;

/// A request that is to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedRequest {
    /// Its number within the run, from 0.
    pub index: usize,
    /// Seconds from the start of the step at which it is due; in a closed loop, 0.
    pub intended_s: f64,
    /// What is asked.
    pub prompt: Prompt,
    /// Tokens of the prompt as a tokenizer counts them; `None` where there is none.
    pub prompt_tokens: Option<usize>,
    /// Tokens that the answer is to have.
    pub gen_tokens: usize,
}
