//! What is done with a loaded model: batches of cases, generation, logits, and passes of the scheduler.

pub mod batch;
pub mod candle;
pub mod encoder;
mod generate;
mod language;

pub use language::CandleLanguageModel;
